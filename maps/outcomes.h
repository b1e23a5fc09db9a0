/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The one list of outcomes: every packet that a catsbpf program sees ends in exactly one of them.
 * Data plane, CLI, metrics and docs are all made from this list.
 *
 *   OUTCOME(name, kind, sentence)   kind: normal | alarm
 *
 * Append only: the number of an outcome is its index in the pinned counter map. */
#ifndef CATSBPF_MAPS_OUTCOMES_H
#define CATSBPF_MAPS_OUTCOMES_H

#define OUTCOMES(OUTCOME) \
	OUTCOME(next, alarm, "a stage returned without deciding; this counter must stay zero") \
	OUTCOME(forwarded, normal, "encapsulated towards the egress of its instance and handed to the underlay interface") \
	OUTCOME(forwarded_midflow, normal, "TCP packet of a flow not in the table and not a SYN: followed the ring, then as forwarded") \
	OUTCOME(forwarded_slow, normal, "encapsulated, next hop unresolved: handed to the tc program, which asks the kernel for the neighbour") \
	OUTCOME(delivered, normal, "decapsulated and handed to the instance on a service interface") \
	OUTCOME(delivered_slow, normal, "decapsulated, neighbour of the instance unresolved: handed to the tc program") \
	OUTCOME(not_ip, normal, "neither IPv4 nor IPv6 (ARP, VLAN, ...): passed untouched") \
	OUTCOME(not_ours, normal, "not for a service, nor a tunnel packet to us: passed untouched") \
	OUTCOME(unknown_interface, alarm, "arrived on an interface that the agent has not described: passed untouched") \
	OUTCOME(malformed, normal, "shorter than its headers say, or more than eight IPv6 extension headers: passed untouched, the kernel decides") \
	OUTCOME(fragment, normal, "fragment for a service address: passed to plain routing") \
	OUTCOME(icmp_error, normal, "ICMP error for a service address: passed to plain routing") \
	OUTCOME(ttl_expired, normal, "TTL or hop limit used up here: passed to the kernel, which answers time exceeded") \
	OUTCOME(bypassed, normal, "bypass is on: a flow that is not steered yet follows plain routing") \
	OUTCOME(no_instance, alarm, "the service has no instance that may take the flow: passed to plain routing") \
	OUTCOME(path_down, alarm, "the path to the flow's instance is dead and no other instance is left, so the flow waits: dropped") \
	OUTCOME(packet_too_big, normal, "larger than the path's MTU allows: answered with fragmentation needed or packet too big") \
	OUTCOME(packet_too_big_dropped, alarm, "larger than the path's MTU allows, and no answer could be made or too many a second were asked for: dropped") \
	OUTCOME(encap_failed, alarm, "no headroom for the outer header: dropped") \
	OUTCOME(tunnel_not_ours, normal, "tunnel packet to our address without our option or VNI: passed untouched") \
	OUTCOME(tunnel_unknown_peer, alarm, "tunnel packet to our address from an address that is no known forwarder: passed untouched") \
	OUTCOME(tunnel_malformed, alarm, "tunnel packet with our option whose inner packet is broken: dropped") \
	OUTCOME(unknown_instance, alarm, "tunnel packet for a CSCI-ID that is not served here: dropped") \
	OUTCOME(decap_failed, alarm, "the outer header could not be removed: dropped") \
	OUTCOME(redirect_failed, alarm, "the kernel refused the redirect of a packet counted as forwarded or delivered") \
	OUTCOME(redirect_dropped, alarm, "the target interface was down or full: a packet counted as forwarded or delivered was lost") \
	OUTCOME(slow_sent, normal, "the tc program sent a packet counted as forwarded_slow or delivered_slow") \
	OUTCOME(slow_failed, alarm, "the tc program could not send a packet counted as forwarded_slow or delivered_slow: dropped") \
	OUTCOME(slow_impossible, alarm, "next hop unresolved and the driver carries no metadata to the tc program: dropped") \
	OUTCOME(martian, normal, "for a service, but from an address that no other host may have (multicast, broadcast, this host's own, ...), or in a frame to another host: passed to the kernel, which decides") \
	OUTCOME(ecn_dropped, normal, "congestion experienced on the way through the tunnel, sender not ECN-capable: dropped (RFC 6040)") \
	OUTCOME(tunnel_from_outside, alarm, "tunnel packet to a forwarder's address from the client or service side, where no forwarder is: dropped") \
	OUTCOME(foreign_destination, alarm, "tunnel packet whose inner destination is no address of the service that it names: dropped")

#define CATSBPF_OUTCOME_ENUM(name, kind, sentence) OUTCOME_##name,
enum outcome {
	OUTCOMES(CATSBPF_OUTCOME_ENUM)
	OUTCOME_COUNT
};
#undef CATSBPF_OUTCOME_ENUM

#endif
