/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* affinity: a packet of a service in, its flow's instance slot out. What a flow is, the service
 * record's masks say. The established path (the flow is in one of its two lines) is inline and
 * reads one line, in the common case; everything else is place.h. */
#ifndef CATSBPF_BPF_AFFINITY_H
#define CATSBPF_BPF_AFFINITY_H

#include "place.h"
#include "siphash.h"

/* IPv4 flows hash two words, IPv6 flows five; the length in the last block keeps them apart. */
static __always_inline int hash_flow(struct packet *p)
{
	const struct service_record *service = p->service;
	__u32 zero = 0;
	struct secret *key = bpf_map_lookup_elem(&secret, &zero);
	struct siphash sip;
	__u64 rest;

	if (!key)
		return 0;
	rest = (__u64)(p->target & 0xffff) << 48 | (__u64)(p->protocol & service->protocol_mask) << 32 |
	       (__u32)(bpf_ntohs(p->source_port) & service->source_port_mask) << 16 |
	       (bpf_ntohs(p->destination_port) & service->destination_port_mask);
	sip = sip_start(key->key[0], key->key[1]);
	if (p->family == FAMILY_IPV4) {
		__u64 pair = IPV4_OF(p->source.low) & ~service->source_ignore4;

		if (service->destination)
			pair |= (__u64)IPV4_OF(p->destination.low) << 32;
		sip_word(&sip, pair);
		sip_word(&sip, rest);
		p->hash = sip_end(&sip, 2);
	} else {
		sip_word(&sip, p->source.high & service->source_mask.high);
		sip_word(&sip, p->source.low & service->source_mask.low);
		sip_word(&sip, service->destination ? p->destination.high : 0);
		sip_word(&sip, service->destination ? p->destination.low : 0);
		sip_word(&sip, rest);
		p->hash = sip_end(&sip, 5);
	}
	if (unlikely(!(p->hash >> FLOW_TAG_SHIFT)))
		p->hash |= 1ULL << FLOW_TAG_SHIFT; /* a tag of 0 would match free entries */
	return 1;
}

/* The flow's word when it is in this line, else 0. Counts the packet. */
static __always_inline __u64 find_in_line(struct flow_line *line, __u64 hash, __u64 now)
{
#pragma clang loop unroll(full)
	for (int i = 0; i < FLOW_LINE_ENTRIES; i++) {
		struct flow_entry *entry = &line->entry[i];
		__u64 word = READ_ONCE(entry->word);

		if (!((word ^ hash) >> FLOW_TAG_SHIFT)) {
			WRITE_ONCE(entry->seen, now << 32 | (__u32)(READ_ONCE(entry->seen) + 1));
			return word;
		}
	}
	return 0;
}

/* Instance and path of p->slot, when packets can be sent there. */
static __always_inline int resolve_slot(struct packet *p)
{
	__u32 key = p->slot;

	p->instance = bpf_map_lookup_elem(&instances, &key);
	if (!p->instance || p->instance->cs_id != p->service->cs_id ||
	    (p->instance->state != INSTANCE_ACTIVE && p->instance->state != INSTANCE_DRAINING))
		return 0;
	key = p->instance->path;
	p->path = bpf_map_lookup_elem(&paths, &key);
	return p->path && (p->path->state == PATH_RESOLVED || p->path->state == PATH_UNRESOLVED);
}

/* The rare ways: a new flow, one that has lost its instance, one that leaves the bypass. */
static __always_inline enum outcome affinity_slow(struct packet *p)
{
	struct place_request request = {
		.hash = p->hash,
		.source = p->source,
		.destination = p->destination,
		.source_port = p->source_port,
		.destination_port = p->destination_port,
		.service = p->target,
		.view = p->view,
		.protocol = p->protocol,
		.syn = p->syn,
		.bypass = p->bypass,
	};
	int placed = place_flow(&request);

	if (placed < 0)
		return (enum outcome)-placed;
	p->slot = placed;
	p->midflow = placed & PLACED_NEW && p->protocol == IPPROTO_TCP && !p->syn;
	return resolve_slot(p) ? OUTCOME_next : OUTCOME_path_down;
}

static __always_inline enum outcome affinity(struct packet *p)
{
	__u64 now = bpf_jiffies64(), word;
	struct flow_line *line;
	__u32 key;

	if (!hash_flow(p))
		return OUTCOME_no_instance;
	key = first_line(p->hash);
	line = bpf_map_lookup_elem(&flows, &key);
	if (!line)
		return OUTCOME_no_instance;
	word = find_in_line(line, p->hash, now);
	if (!word) {
		key = second_line(p->hash);
		line = bpf_map_lookup_elem(&flows, &key);
		if (!line)
			return OUTCOME_no_instance;
		word = find_in_line(line, p->hash, now);
	}
	p->slot = word & FLOW_SLOT_MASK;
	if (likely(p->slot) && likely(resolve_slot(p)))
		return OUTCOME_next;
	if (word && !p->slot && (p->bypass || !p->syn))
		return OUTCOME_bypassed;
	return affinity_slow(p);
}

#endif
