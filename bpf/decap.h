/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* decap: a packet to a tunnel address of ours in; if it is a CATS tunnel packet, the inner packet and
 * the ids that it carries out. Anything else on that address and port (an operator's EVPN) passes
 * untouched. Outer UDP checksums are not verified: zero is what we send, a peer's other value is
 * accepted. */
#ifndef CATSBPF_BPF_DECAP_H
#define CATSBPF_BPF_DECAP_H

#include "classify.h"
#include "encap.h"

#define GENEVE_VERSION_MASK    0xc0
#define GENEVE_LENGTH_MASK     0x3f
#define GENEVE_CONTROL         0x80
#define GENEVE_CRITICAL        0x40
#define OPTION_WORDS           (sizeof(struct cats_option) / 4)

#define ECN_MASK 3
#define ECN_NOT_CAPABLE 0
#define ECN_ECT1 1
#define ECN_CE 3

/* What the outer header says. */
struct tunnel {
	__u32 cs_id;
	__u32 csci_id;
	__be16 inner_type;
	__u32 outer_header; /* bytes from the frame's begin to the inner packet */
	__u32 inner_room;   /* bytes that the outer header leaves for the inner packet */
	__u8 ecn;
	__u8 ethernet[12];
};

static __always_inline int is_cats_option(const struct cats_option *option)
{
	return option->option_class == bpf_htons(CATS_OPTION_CLASS) && option->type == CATS_OPTION_TYPE &&
	       (option->length & 0x1f) == CATS_OPTION_WORDS && option->version == CATS_OPTION_VERSION;
}

static __always_inline enum outcome parse_tunnel(struct packet *p, struct tunnel *t)
{
	void *data = packet_data(p);
	struct cats_option *option = data + OUTER_OPTION;
	__u8 *geneve = data + OUTER_GENEVE;
	struct udphdr *udp = data + OUTER_UDP;
	__u32 vni, words;

	if (p->family != FAMILY_IPV4 || p->protocol != IPPROTO_UDP || is_fragment(p) || p->transport != OUTER_UDP ||
	    data + OUTER_GENEVE > packet_end(p) || udp->dest != bpf_htons(GENEVE_PORT))
		return OUTCOME_not_ours;
	if (data + GENEVE_HEADROOM > packet_end(p) || p->ip_bytes < TUNNEL_OVERHEAD)
		return OUTCOME_tunnel_not_ours;
	vni = bpf_ntohl(*(__be32 *)(geneve + 4)) >> 8;
	words = geneve[0] & GENEVE_LENGTH_MASK;
	if (geneve[0] & GENEVE_VERSION_MASK || geneve[1] & GENEVE_CONTROL || words < OPTION_WORDS ||
	    vni != (p->target ? p->target : CATS_VNI) || !is_cats_option(option))
		return OUTCOME_tunnel_not_ours;
	if (words > OPTION_WORDS && geneve[1] & GENEVE_CRITICAL)
		return OUTCOME_tunnel_not_ours; /* an option that must be understood, and is not */
	if (bpf_ntohs(udp->len) + sizeof(struct iphdr) != p->ip_bytes)
		return OUTCOME_tunnel_malformed;
	t->outer_header = OUTER_OPTION + words * 4;
	if (p->ip_bytes + ETH_HLEN < t->outer_header)
		return OUTCOME_tunnel_malformed;
	t->inner_room = p->ip_bytes + ETH_HLEN - t->outer_header;
	t->inner_type = *(__be16 *)(geneve + 2);
	t->cs_id = bpf_ntohl(option->cs_id);
	t->csci_id = bpf_ntohl(option->csci_id);
	t->ecn = traffic_class_of(p->family, p->network) & ECN_MASK;
	__builtin_memcpy(t->ethernet, data, sizeof(t->ethernet));
	return OUTCOME_next;
}

static __always_inline int is_known_forwarder(const struct packet *p)
{
	const struct view_header *header = &view_headers[p->view & 1];
	const struct locator *found = find_prefix(p->view, source_of(p), 128, header->locator_seed);

	return found && found->kind == LOCATOR_FORWARDER;
}

/* RFC 6040 section 4.2: the ECN field of the inner packet after the tunnel; negative: drop. */
static __always_inline int decapsulated_ecn(__u8 inner, __u8 outer)
{
	if (outer == ECN_CE)
		return inner == ECN_NOT_CAPABLE ? -1 : ECN_CE;
	if (outer == ECN_ECT1 && inner != ECN_NOT_CAPABLE && inner != ECN_CE)
		return ECN_ECT1;
	return inner;
}

static __always_inline void write_traffic_class(const struct packet *p, void *header, __u8 traffic_class)
{
	if (p->family == FAMILY_IPV4) {
		struct iphdr *ip = header;
		/* RFC 1624: ~(~sum + ~old + new), the TOS being the low byte of its word */
		__u32 sum = (__u16)~ip->check + (__u16)~bpf_htons(ip->tos) + bpf_htons(traffic_class);

		ip->check = ~fold(sum);
		ip->tos = traffic_class;
	} else {
		__be32 *first = header;

		*first = (*first & bpf_htonl(0xf00fffff)) | bpf_htonl((__u32)traffic_class << 20);
	}
}

/* Removes the outer header. The frame keeps its Ethernet addresses and gets the inner type. */
static __always_inline enum outcome strip(struct packet *p, const struct tunnel *t)
{
	void *data;

	if (bpf_xdp_adjust_head(p->context, (int)(t->outer_header - ETH_HLEN)))
		return OUTCOME_decap_failed;
	data = packet_data(p);
	if (data + ETH_HLEN > packet_end(p))
		return OUTCOME_tunnel_malformed;
	__builtin_memcpy(data, t->ethernet, sizeof(t->ethernet));
	*(__be16 *)(data + 12) = t->inner_type;
	return OUTCOME_next;
}

static __always_inline enum outcome decap(struct packet *p, struct tunnel *t)
{
	enum outcome outcome = parse_tunnel(p, t);
	__u32 arrived = p->bytes;
	__u8 traffic_class;
	int ecn;

	if (outcome)
		return outcome;
	if (!is_known_forwarder(p))
		return OUTCOME_tunnel_unknown_peer;
	outcome = strip(p, t);
	if (outcome)
		return outcome;
	p->bytes = t->inner_room + ETH_HLEN;
	outcome = parse_network(p);
	p->bytes = arrived; /* counters count what arrived */
	if (outcome)
		return OUTCOME_tunnel_malformed;
	traffic_class = traffic_class_of(p->family, p->network);
	ecn = decapsulated_ecn(traffic_class & ECN_MASK, t->ecn);
	if (ecn < 0)
		return OUTCOME_ecn_dropped;
	if (ecn != (traffic_class & ECN_MASK))
		write_traffic_class(p, p->network, (traffic_class & ~ECN_MASK) | ecn);
	return OUTCOME_next;
}

#endif
