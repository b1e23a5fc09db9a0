/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* deliver: an inner packet and its ids in; out to the local instance that they name. */
#ifndef CATSBPF_BPF_DELIVER_H
#define CATSBPF_BPF_DELIVER_H

#include "decap.h"
#include "forward.h"

/* All probes are read: a removed delivery leaves a hole. */
static __always_inline const struct delivery *find_delivery(const struct tunnel *t, __u32 *index)
{
	__u32 hash = delivery_hash(t->csci_id);

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < DELIVERY_PROBES; i++) {
		__u32 key = (hash + i) % MAX_DELIVERIES;
		const struct delivery *delivery = &deliveries[key];

		if (delivery->state != DELIVERY_FREE && delivery->csci_id == t->csci_id &&
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
		mark.next_hop6 = destination_of(p);
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
	const struct locator *rule;

	if (!r)
		return 0;
	if (!view_headers[r->view & 1].services)
		return 1; /* no platform here: the addresses of services are not known */
	rule = destination_rule(r->view, r->family, r->destination);
#pragma clang loop unroll(disable)
	for (int i = 0; i < LOCATOR_CHAIN; i++) {
		if (!rule || rule->kind != LOCATOR_SERVICE)
			return 0;
		if (services[r->view & 1][rule->target % MAX_SERVICES].cs_id == r->cs_id)
			return 1;
		if (!rule->next)
			return 0;
		rule = AT(locators[r->view & 1], (rule->next - 1) % MAX_LOCATORS);
	}
	return 0;
}

/* A forwarder sends to addresses of the service only; who spoofs one must not reach other hosts. */
static __always_inline int is_of_service(const struct packet *p, __u32 cs_id)
{
	struct destination_request request = {
		.destination = destination_of(p),
		.cs_id = cs_id,
		.view = p->view,
		.family = p->family,
	};

	return is_address_of_service(&request);
}

static __always_inline enum outcome deliver(struct packet *p, const struct tunnel *t)
{
	const struct delivery *delivery;
	struct slow_mark mark;
	__u32 index = 0;
	void *data;

	delivery = find_delivery(t, &index);
	if (!delivery)
		return OUTCOME_unknown_instance;
	if (unlikely(!is_of_service(p, t->cs_id)))
		return OUTCOME_foreign_destination;
	if (ttl_of(p) <= 1)
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
