/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* affinity: a packet of a service in, its flow's instance slot out. What a flow is, the service
 * record's masks say. The established path (the flow is in one of its two lines) is inline and
 * reads one line, in the common case; everything else is place.h. */
#ifndef CATSBPF_BPF_AFFINITY_H
#define CATSBPF_BPF_AFFINITY_H

#include "place.h"
#include "siphash.h"

/* What of the tuple is the flow. */
struct flow_words {
	struct address source;
	struct address destination;
	__u64 rest;        /* up to seven bytes: ports and protocol */
	__u32 rest_bytes;
	__u32 family;
};

/* The message is addresses (IPv4: 8 bytes, IPv6: 32) and rest; SipHash ends with its length, which keeps the families
 * and whole from masked tuples apart. */
static __always_inline __u64 hash_words(const struct flow_words *w)
{
	struct siphash sip = sip_start(secret.key[0], secret.key[1]);

	if (w->family == FAMILY_IPV4) {
		sip_word(&sip, (__u64)IPV4_OF(w->destination.low) << 32 | IPV4_OF(w->source.low));
		return sip_end(&sip, w->rest, 8 + w->rest_bytes);
	}
	sip_word(&sip, w->source.high);
	sip_word(&sip, w->source.low);
	sip_word(&sip, w->destination.high);
	sip_word(&sip, w->destination.low);
	return sip_end(&sip, w->rest, 32 + w->rest_bytes);
}

/* One comparison, not one branch per mask: each would double the verifier's work behind it. */
_Static_assert(__builtin_offsetof(struct service_record, source_ignore4) ==
		       __builtin_offsetof(struct service_record, source_port_mask) + 8,
	       "the masks are read as one word");
static __always_inline int is_whole_tuple(const struct packet *p)
{
	/* source_port_mask to pad */
	static const __u8 whole[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0};
	const struct service_record *service = p->service;
	__u64 left_out = load64(&service->source_port_mask) ^ load64(whole);

	left_out |= p->family == FAMILY_IPV4 ? service->source_ignore4 :
					       ~(service->source_mask.high & service->source_mask.low);
	return !left_out;
}

/* Nothing is masked, the default: the words are the packet's alone, so that the processor hashes while
 * the service is still being looked up; the branch is predicted. */
static __always_inline __u64 hash_whole(const struct packet *p)
{
	struct flow_words words = {
		.source = source_of(p),
		.destination = destination_of(p),
		.rest = (__u64)p->protocol << 32 | (__u32)p->source_port << 16 | p->destination_port,
		.rest_bytes = 5,
		.family = p->family,
	};

	return hash_words(&words);
}

/* Not inlined: merged with the whole tuple's, the words would wait for the masks again. */
__noinline __u64 hash_of_words(const struct flow_words *words)
{
	return words ? hash_words(words) : 0;
}

/* The service's handle is part of the message, for masks may make two services' flows alike. */
static __always_inline __u64 hash_masked(const struct packet *p)
{
	const struct service_record *service = p->service;
	struct flow_words words = {
		.source = source_of(p),
		.rest = (__u64)(p->target % MAX_SERVICES) << 40 |
			(__u64)(p->protocol & service->protocol_mask) << 32 |
			(__u32)(bpf_ntohs(p->source_port) & service->source_port_mask) << 16 |
			(bpf_ntohs(p->destination_port) & service->destination_port_mask),
		.rest_bytes = 7,
		.family = p->family,
	};

	if (service->destination)
		words.destination = destination_of(p);
	if (p->family == FAMILY_IPV4) {
		words.source.low = IPV4_MAPPED(IPV4_OF(words.source.low) & ~service->source_ignore4);
	} else {
		words.source.high &= service->source_mask.high;
		words.source.low &= service->source_mask.low;
	}
	return hash_of_words(&words);
}

static __always_inline void hash_flow(struct packet *p)
{
	p->hash = likely(is_whole_tuple(p)) ? hash_whole(p) : hash_masked(p);
	if (unlikely(!(p->hash >> FLOW_TAG_SHIFT)))
		p->hash |= 1ULL << FLOW_TAG_SHIFT; /* a tag of 0 would match free entries */
}

/* The flow's word when it is in this line, else 0. Counts the packet. */
static __always_inline __u64 find_in_line(struct flow_line *line, __u64 hash)
{
#pragma clang loop unroll(full)
	for (int i = 0; i < FLOW_LINE_ENTRIES; i++) {
		struct flow_entry *entry = &line->entry[i];
		__u64 word = READ_ONCE(entry->word);

		if (!((word ^ hash) >> FLOW_TAG_SHIFT)) {
			WRITE_ONCE(entry->seen, bpf_jiffies64() << 32 | (__u32)(READ_ONCE(entry->seen) + 1));
			return word;
		}
	}
	return 0;
}

/* Instance and path of p->slot, when packets can be sent there. */
static __always_inline int resolve_slot(struct packet *p)
{
	p->instance = AT(instances, p->slot);
	if (p->instance->cs_id != p->service->cs_id ||
	    (p->instance->state != INSTANCE_ACTIVE && p->instance->state != INSTANCE_DRAINING))
		return 0;
	p->path = path_of(p->instance);
	return p->path->state == PATH_RESOLVED || p->path->state == PATH_UNRESOLVED;
}

/* Sources that no host anywhere may have; asked for new flows only, so that none of them ever has an entry. */
static __always_inline int is_martian(const struct packet *p)
{
	struct address source = source_of(p);

	if (p->family == FAMILY_IPV4) {
		__u8 first = bpf_ntohl(IPV4_OF(source.low)) >> 24;

		return first == 0 || first == 127 || first >= 224;
	}
	return (bpf_be64_to_cpu(source.high) >> 56) == 0xff || /* multicast */
	       (bpf_be64_to_cpu(source.high) >> 54) == 0x3fa || /* fe80::/10 does not leave its link */
	       (!source.high && bpf_be64_to_cpu(source.low) <= 1);
}

/* A source that is this router's own or a broadcast address of its networks: Linux drops such packets as martian. */
__noinline int is_own_address(const struct address *a)
{
	__u32 hash;

	if (!a)
		return 0;
	hash = own_address_hash(*a);
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < OWN_ADDRESS_PROBES; i++) {
		const struct address *own = AT(own_addresses, own_address_place(hash, i));

		if (own->low == a->low && own->high == a->high)
			return 1;
	}
	return 0;
}

/* The rare ways: a new flow, one that has lost its instance, one that leaves the bypass. */
static __always_inline enum outcome affinity_slow(struct packet *p)
{
	struct place_request request = {
		.hash = p->hash,
		.source = source_of(p),
		.destination = destination_of(p),
		.source_port = p->source_port,
		.destination_port = p->destination_port,
		.service = p->target,
		.view = p->view,
		.protocol = p->protocol,
		.syn = p->syn,
		.bypass = control.bypass,
	};
	int placed;

	if (is_martian(p) || is_own_address(&request.source))
		return OUTCOME_martian;
	placed = place_flow(&request);

	if (placed < 0)
		return (enum outcome)-placed;
	p->slot = placed;
	p->midflow = placed & PLACED_NEW && p->protocol == IPPROTO_TCP && !p->syn;
	return resolve_slot(p) ? OUTCOME_next : OUTCOME_path_down;
}

static __always_inline enum outcome affinity(struct packet *p)
{
	struct flow_line *line;
	__u64 word;
	__u32 key;

	hash_flow(p);
	key = first_line(p->hash);
	line = bpf_map_lookup_elem(&flows, &key);
	if (!line)
		return OUTCOME_no_instance;
	word = find_in_line(line, p->hash);
	if (!word) {
		key = second_line(p->hash);
		line = bpf_map_lookup_elem(&flows, &key);
		if (!line)
			return OUTCOME_no_instance;
		word = find_in_line(line, p->hash);
	}
	p->slot = word & FLOW_SLOT_MASK;
	if (likely(p->slot) && likely(resolve_slot(p)))
		return OUTCOME_next;
	if (word && !p->slot && (control.bypass || !p->syn))
		return OUTCOME_bypassed;
	return affinity_slow(p);
}

#endif
