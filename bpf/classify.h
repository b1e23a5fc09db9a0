/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* classify: a packet in; whether it is for a service, a tunnel address of ours, or none of our
 * business out. Reads the view's locators: open addressing, one table for all prefix lengths. */
#ifndef CATSBPF_BPF_CLASSIFY_H
#define CATSBPF_BPF_CLASSIFY_H

#include "parse.h"

static __always_inline enum outcome classify_interface(struct packet *p)
{
	__u32 ifindex = p->context->ingress_ifindex;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < INTERFACE_PROBES; i++) {
		const struct interface *interface = AT(interfaces, (ifindex + i) % MAX_INTERFACES);

		if (interface->ifindex == ifindex) {
			p->interface = interface;
			return OUTCOME_next;
		}
	}
	return OUTCOME_unknown_interface;
}

/* First rule of a prefix in the view, or NULL. */
static __always_inline const struct locator *find_prefix(__u32 view, struct address a, __u32 length, __u64 seed)
{
	__u32 hash = locator_hash(a, length, seed);

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < LOCATOR_PROBES; i++) {
		const struct locator *locator = AT(locators[view & 1], (hash + i) % MAX_LOCATORS);

		if (locator->kind == LOCATOR_FREE)
			return NULL;
		if (locator->prefix.low == a.low && locator->prefix.high == a.high && locator->length == length &&
		    !locator->chained)
			return locator;
	}
	return NULL;
}

static __always_inline const struct locator *find_length(__u32 view, struct address a,
							 const struct prefix_length *length, __u64 seed)
{
	a.high &= length->mask_high;
	a.low &= length->mask_low;
	return find_prefix(view, a, length->length, seed);
}

/* First rule of the longest prefix of the destination, or NULL. */
static __always_inline const struct locator *destination_rule(__u32 view, __u8 family, struct address destination)
{
	const struct view_header *header = AT(view_headers, view & 1);
	const struct prefix_length *lengths = family == FAMILY_IPV4 ? header->length4 : header->length6;
	__u32 count = family == FAMILY_IPV4 ? header->lengths4 : header->lengths6;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < MAX_PREFIX_LENGTHS && i < count; i++) {
		const struct locator *found = find_length(view, destination, &lengths[i], header->locator_seed);

		if (found)
			return found;
	}
	return NULL;
}

/* An ICMP echo request matches any rule: it asks whether the address answers. */
static __always_inline int rule_matches(const struct locator *rule, __u8 protocol, __u8 echo, __u16 port)
{
	return echo || ((!rule->protocol || rule->protocol == protocol) &&
			((!rule->port_min && rule->port_max == 0xffff) ||
			 (has_ports(protocol) && port >= rule->port_min && port <= rule->port_max)));
}

struct rule_request {
	struct address destination;
	__u32 view;
	__u16 port;
	__u8 family;
	__u8 protocol;
	__u8 echo;
	__u8 pad[7];
};

/* The rule of one prefix, first (at index `at`) or further in its chain, that the packet matches: 1 + its target;
 * 0: none; negative: the prefix is not a service's. */
__noinline int match_chain(const struct rule_request *r, __u32 at)
{
	if (!r)
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < LOCATOR_CHAIN; i++) {
		const struct locator *rule = AT(locators[r->view & 1], at % MAX_LOCATORS);

		if (rule->kind != LOCATOR_SERVICE)
			return -1;
		if (rule_matches(rule, r->protocol, r->echo, r->port))
			return 1 + (int)(rule->target % MAX_SERVICES);
		if (!rule->next)
			return 0;
		at = rule->next - 1;
	}
	return 0;
}

/* The first rule of the longest prefix did not match: all rules, longest prefix first. Returns
 * 1 + target, 0 or less: none. A global subprogram: few packets need it. */
__noinline int find_rule(const struct rule_request *r)
{
	const struct prefix_length *lengths;
	const struct view_header *header;
	__u32 count;

	if (!r)
		return 0;
	header = AT(view_headers, r->view & 1);
	count = r->family == FAMILY_IPV4 ? header->lengths4 : header->lengths6;
	lengths = r->family == FAMILY_IPV4 ? header->length4 : header->length6;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < MAX_PREFIX_LENGTHS && i < count; i++) {
		const struct locator *found =
			find_length(r->view, r->destination, &lengths[i], header->locator_seed);
		int target = found ? match_chain(r, found - locators[r->view & 1]) : 0;

		if (target)
			return target;
	}
	return 0;
}

static __always_inline __u32 mac_difference(const __u8 *a, const __u8 *b)
{
	return (load32(a) ^ load32(b)) | (load16(a + 4) ^ load16(b + 4));
}

/* Few frames need it, so it is not inlined. */
static __noinline int is_further_mac(const struct interface *interface, const __u8 *mac)
{
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < MAX_FURTHER_MACS && i < interface->further_macs; i++)
		if (!mac_difference(interface->further_mac[i], mac))
			return 1;
	return 0;
}

/* Frames to other hosts come where a switch floods or somebody listens (promiscuous mode), frames to
 * many by themselves: neither is for this router to forward. */
static __always_inline int is_to_us(const struct packet *p)
{
	const __u8 *mac = p->interface->mac;
	const __u8 *destination = p->network - ETH_HLEN;

	if (!(load32(mac) | load16(mac + 4)))
		return !(*destination & 1);
	return likely(!mac_difference(destination, mac)) || is_further_mac(p->interface, destination);
}

/* Protocol and ports: longest prefix with a rule for the packet. */
static __always_inline int find_further_rule(const struct packet *p, __u16 port)
{
	struct rule_request request = {
		.destination = destination_of(p),
		.view = p->view,
		.port = port,
		.family = p->family,
		.protocol = p->protocol,
		.echo = p->echo,
	};

	return find_rule(&request);
}

static __always_inline int find_service(const struct packet *p, const struct locator *found)
{
	__u16 port = bpf_ntohs(p->destination_port);

	if (likely(rule_matches(found, p->protocol, p->echo, port)))
		return 1 + (int)(found->target & (MAX_SERVICES - 1));
	return find_further_rule(p, port);
}

static __always_inline enum outcome classify_service(struct packet *p, const struct locator *found)
{
	enum outcome outcome = parse_transport(p);
	int target;

	if (outcome)
		return outcome;
	target = find_service(p, found);
	if (target <= 0)
		return OUTCOME_not_ours;
	p->target = target - 1;
	p->service = AT(services[p->view & 1], p->target % MAX_SERVICES);
	if (!p->service->cs_id)
		return OUTCOME_not_ours;
	if (unlikely(ttl_of(p) <= 1))
		return OUTCOME_ttl_expired;
	if (unlikely(!is_to_us(p)))
		return OUTCOME_martian;
	return OUTCOME_next;
}

/* UDP to the tunnel port; asked for packets to a forwarder's address only. */
static __always_inline int is_tunnel_packet(const struct packet *p)
{
	__be16 *udp = packet_data(p) + (p->transport & MAX_TRANSPORT_OFFSET);

	return p->family == FAMILY_IPV4 && p->protocol == IPPROTO_UDP && !is_fragment(p) &&
	       (void *)(udp + 2) <= packet_end(p) && udp[1] == bpf_htons(GENEVE_PORT);
}

static __always_inline enum outcome classify(struct packet *p)
{
	const struct locator *found = destination_rule(p->view, p->family, destination_of(p));

	if (likely(!found))
		return OUTCOME_not_ours;
	if (p->family == FAMILY_IPV6 && is_mapped_ipv4(destination_of(p)))
		return OUTCOME_not_ours; /* no IPv4 service is reached by an IPv6 packet */
	p->locator_kind = found->kind;
	p->target = found->target;
	if (found->kind == LOCATOR_SERVICE)
		return p->interface->sides & SIDE_CLIENT ? classify_service(p, found) : OUTCOME_not_ours;
	if (!(p->interface->sides & SIDE_UNDERLAY))
		return is_tunnel_packet(p) ? OUTCOME_tunnel_from_outside : OUTCOME_not_ours;
	return found->kind == LOCATOR_TUNNEL && is_to_us(p) ? OUTCOME_next : OUTCOME_not_ours;
}

#endif
