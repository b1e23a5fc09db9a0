/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* deliver: an inner packet and its ids in; out to the local instance that they name. */
#ifndef CATSBPF_BPF_DELIVER_H
#define CATSBPF_BPF_DELIVER_H

#include "decap.h"
#include "forward.h"

/* All probes are read: a removed delivery leaves a hole. */
static __always_inline struct delivery *find_delivery(const struct tunnel *t, __u32 *index)
{
	__u32 hash = delivery_hash(t->csci_id);

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < DELIVERY_PROBES; i++) {
		__u32 key = (hash + i) % MAX_DELIVERIES;
		struct delivery *delivery = bpf_map_lookup_elem(&deliveries, &key);

		if (delivery && delivery->state != DELIVERY_FREE && delivery->csci_id == t->csci_id &&
		    delivery->cs_id == t->cs_id) {
			*index = key;
			return delivery;
		}
	}
	return NULL;
}

/* Next hop of the packet on the service interface: the contact of its family. An IPv4 packet may go
 * to an IPv6 neighbour, an IPv6 packet only to one of its own. */
static __always_inline struct slow_mark delivery_mark(const struct packet *p, const struct delivery *delivery)
{
	struct slow_mark mark = {.magic = SLOW_MAGIC, .ifindex = delivery->ifindex, .family = AF_INET6};

	if (!is_mapped_ipv4(delivery->contact)) {
		mark.next_hop6 = delivery->contact;
	} else if (p->family == FAMILY_IPV4) {
		mark.family = AF_INET;
		mark.next_hop4 = IPV4_OF(delivery->contact.low);
	} else if (delivery->contact6.high || delivery->contact6.low) {
		mark.next_hop6 = delivery->contact6;
	} else {
		mark.next_hop6 = p->destination;
	}
	return mark;
}

static __always_inline enum outcome deliver(struct packet *p, const struct tunnel *t)
{
	struct delivery *delivery;
	struct slow_mark mark;
	__u32 index = 0;
	void *data;

	delivery = find_delivery(t, &index);
	if (!delivery)
		return OUTCOME_unknown_instance;
	data = packet_data(p);
	if (data + ETH_HLEN + sizeof(struct iphdr) > packet_end(p))
		return OUTCOME_tunnel_malformed;
	decrement_ttl(p, data + ETH_HLEN);
	count(&delivery_counters, index, 1, p->bytes);
	if (likely(delivery->state == DELIVERY_RESOLVED)) {
		__builtin_memcpy(data, delivery->ethernet, sizeof(delivery->ethernet));
		bpf_redirect(delivery->ifindex, 0);
		return OUTCOME_delivered;
	}
	mark = delivery_mark(p, delivery);
	return mark_slow(p->context, &mark) ? OUTCOME_delivered_slow : OUTCOME_slow_impossible;
}

#endif
