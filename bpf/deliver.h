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

struct destination_request {
	struct address destination;
	__u32 cs_id;
	__u32 view;
	__u32 family;
	__u32 pad;
};

/* Is the destination an address of the service? A global subprogram, to be verified by itself. */
__noinline int is_address_of_service(const struct destination_request *r)
{
	struct packet p = {};
	struct view_header *header;
	struct locator *rule;
	__u32 view;

	if (!r)
		return 0;
	view = r->view & 1;
	header = bpf_map_lookup_elem(&view_headers, &view);
	if (!header || !header->services)
		return 1; /* no platform here: the addresses of services are not known */
	p.destination = r->destination;
	p.family = r->family;
	p.view = view;
	rule = find_destination(&p, header);
#pragma clang loop unroll(disable)
	for (int i = 0; i < LOCATOR_CHAIN; i++) {
		struct service_record *service;
		__u32 key;

		if (!rule || rule->kind != LOCATOR_SERVICE)
			return 0;
		key = view * MAX_SERVICES + (rule->target & (MAX_SERVICES - 1));
		service = bpf_map_lookup_elem(&services, &key);
		if (service && service->cs_id == r->cs_id)
			return 1;
		if (!rule->next)
			return 0;
		key = view * MAX_LOCATORS + ((rule->next - 1) & (MAX_LOCATORS - 1));
		rule = bpf_map_lookup_elem(&locators, &key);
	}
	return 0;
}

/* A forwarder sends to addresses of the service only; who spoofs one must not reach other hosts. */
static __always_inline int is_of_service(const struct packet *p, __u32 cs_id)
{
	struct destination_request request = {
		.destination = p->destination,
		.cs_id = cs_id,
		.view = p->view,
		.family = p->family,
	};

	return is_address_of_service(&request);
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
	if (unlikely(!is_of_service(p, t->cs_id)))
		return OUTCOME_foreign_destination;
	if (p->ttl <= 1)
		return OUTCOME_ttl_expired; /* decapsulated: the kernel answers for the inner packet */
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
