/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* outcome: the one exit. Counts the packet under its outcome and says what the kernel does with it.
 * The list and its sentences: maps/outcomes.h. */
#ifndef CATSBPF_BPF_OUTCOME_H
#define CATSBPF_BPF_OUTCOME_H

#include "packet.h"

#define OUTCOME_BIT(name) (1ULL << OUTCOME_##name)
#define REDIRECTED                                                                                   \
	(OUTCOME_BIT(forwarded) | OUTCOME_BIT(forwarded_midflow) | OUTCOME_BIT(delivered))
#define DROPPED                                                                                      \
	(OUTCOME_BIT(next) | OUTCOME_BIT(path_down) | OUTCOME_BIT(packet_too_big_dropped) |          \
	 OUTCOME_BIT(encap_failed) |                                                                 \
	 OUTCOME_BIT(tunnel_malformed) | OUTCOME_BIT(unknown_instance) | OUTCOME_BIT(decap_failed) | \
	 OUTCOME_BIT(slow_impossible) | OUTCOME_BIT(ecn_dropped) |                              \
	 OUTCOME_BIT(tunnel_from_outside) | OUTCOME_BIT(foreign_destination))

static __always_inline void count(void *counters, __u32 key, __u64 packets, __u64 bytes)
{
	struct counter *counter = bpf_map_lookup_elem(counters, &key);

	if (counter) {
		counter->packets += packets;
		counter->bytes += bytes;
	}
}

static __always_inline int finish(const struct packet *p, enum outcome outcome)
{
	count(&outcomes, outcome, 1, p->bytes);
	if (REDIRECTED >> outcome & 1)
		return XDP_REDIRECT;
	if (DROPPED >> outcome & 1)
		return XDP_DROP;
	/* Back where it came from; not by XDP_TX, after which veth wakes a peer only if it has a program. */
	if (outcome == OUTCOME_packet_too_big)
		return bpf_redirect(p->context->ingress_ifindex, 0);
	return XDP_PASS;
}

#endif
