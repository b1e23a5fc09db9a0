/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* parse: a frame in, addresses and (for packets that are ours) ports out. Never changes the packet.
 * The network part runs for every packet of the router and is kept short; the transport part only
 * for packets to a service. What it does not understand passes untouched. */
#ifndef CATSBPF_BPF_PARSE_H
#define CATSBPF_BPF_PARSE_H

#include "packet.h"

#define MAX_EXTENSIONS     8
#define MAX_TRANSPORT_OFFSET 0xfff /* behind the extension headers that are walked */
#define ICMP4_ECHO         8
#define ICMP6_ECHO         128
#define ICMP6_FIRST_INFORMATIONAL 128

static __always_inline enum outcome parse_ipv4(struct packet *p, void *header)
{
	struct iphdr *ip = header;
	__u32 header_bytes;

	if ((void *)(ip + 1) > packet_end(p))
		return OUTCOME_malformed;
	header_bytes = ip->ihl * 4;
	p->ip_bytes = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || header_bytes < sizeof(*ip) || p->ip_bytes < header_bytes ||
	    p->ip_bytes + ETH_HLEN > p->bytes)
		return OUTCOME_malformed;
	p->family = FAMILY_IPV4;
	p->network = header;
	p->protocol = ip->protocol;
	p->transport = ETH_HLEN + header_bytes;
	return OUTCOME_next;
}

static __always_inline enum outcome parse_ipv6(struct packet *p, void *header)
{
	struct ipv6hdr *ip = header;
	__u32 first;

	if ((void *)(ip + 1) > packet_end(p))
		return OUTCOME_malformed;
	first = bpf_ntohl(*(__be32 *)header);
	p->ip_bytes = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	if (first >> 28 != 6 || p->ip_bytes + ETH_HLEN > p->bytes)
		return OUTCOME_malformed;
	p->family = FAMILY_IPV6;
	p->network = header;
	p->protocol = ip->nexthdr;
	p->transport = ETH_HLEN + sizeof(*ip);
	return OUTCOME_next;
}

/* The network header; NULL: there is not even an Ethernet header. */
static __always_inline void *parse_ethernet(const struct packet *p, __be16 *type)
{
	void *data = packet_data(p);

	if (data + ETH_HLEN > packet_end(p))
		return NULL;
	*type = load16(data + 12); /* struct ethhdr is packed: by its field, two byte loads */
	return data + ETH_HLEN;
}

static __always_inline enum outcome parse_network(struct packet *p)
{
	__be16 type;
	void *network = parse_ethernet(p, &type);

	if (!network)
		return OUTCOME_malformed;
	if (type == bpf_htons(ETH_P_IP))
		return parse_ipv4(p, network);
	if (type == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(p, network);
	return OUTCOME_not_ip;
}

/* Walks the IPv6 extension headers: a global subprogram, verified once and run only where there
 * are any. In: offset and type of the first header. Out: offset << 8 | type of the transport;
 * negative outcome when the walk ends before one. */
__noinline int walk_extensions(struct xdp_md *context, __u32 offset, __u32 next_header)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;

	for (int walked = 0; walked <= MAX_EXTENSIONS; walked++) {
		__u8 *header;

		switch (next_header & 0xff) {
		case IPPROTO_FRAGMENT:
			return -OUTCOME_fragment;
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case IPPROTO_AH:
			break;
		default:
			return (int)(offset << 8 | (next_header & 0xff));
		}
		if (walked == MAX_EXTENSIONS || offset > 1500)
			return -OUTCOME_malformed;
		header = data + offset;
		if ((void *)(header + 8) > end)
			return -OUTCOME_malformed;
		offset += (next_header & 0xff) == IPPROTO_AH ? ((__u32)header[1] + 2) * 4 : ((__u32)header[1] + 1) * 8;
		next_header = header[0];
	}
	return -OUTCOME_malformed;
}

static __always_inline int has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP ||
	       protocol == IPPROTO_DCCP || protocol == IPPROTO_UDPLITE;
}

static __always_inline enum outcome parse_icmp(struct packet *p, __u8 type, __be16 identifier)
{
	__u8 echo = p->family == FAMILY_IPV4 ? ICMP4_ECHO : ICMP6_ECHO;

	if (type == echo) {
		p->echo = 1;
		p->source_port = identifier;
		return OUTCOME_next;
	}
	if (p->family == FAMILY_IPV6 ? type < ICMP6_FIRST_INFORMATIONAL :
				       type == 3 || type == 4 || type == 5 || type == 11 || type == 12)
		return OUTCOME_icmp_error;
	return OUTCOME_not_ours;
}

/* Are there so many bytes of transport header, within the IP packet and the frame? */
static __always_inline int holds(const struct packet *p, const void *transport, __u32 bytes)
{
	return p->transport + bytes <= p->ip_bytes + ETH_HLEN && transport + bytes <= packet_end(p);
}

static __always_inline void parse_ports(struct packet *p, const void *transport)
{
	p->source_port = load16(transport);
	p->destination_port = load16(transport + 2);
}

static __always_inline enum outcome parse_tcp(struct packet *p, const __u8 *transport)
{
	if (!holds(p, transport, sizeof(struct tcphdr)))
		return OUTCOME_malformed;
	parse_ports(p, transport);
	p->syn = (transport[13] & 0x12) == 0x02; /* SYN without ACK */
	return OUTCOME_next;
}

/* Ports, SYN flag, echo identifier. */
static __always_inline enum outcome parse_transport(struct packet *p)
{
	__u8 *transport;
	int is_icmp;

	if (is_fragment(p))
		return OUTCOME_fragment;
	if (p->family == FAMILY_IPV6 && p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP) {
		int found = walk_extensions(p->context, p->transport, p->protocol);

		if (found < 0)
			return (enum outcome)-found;
		p->protocol = found & 0xff;
		p->transport = (__u32)found >> 8 & MAX_TRANSPORT_OFFSET;
	}
	transport = packet_data(p) + (p->transport & MAX_TRANSPORT_OFFSET); /* known to be small: kernel 6.1 */
	if (likely(p->protocol == IPPROTO_TCP))
		return parse_tcp(p, transport);
	is_icmp = p->protocol == IPPROTO_ICMP || p->protocol == IPPROTO_ICMPV6;
	if (!is_icmp && !has_ports(p->protocol))
		return OUTCOME_next;
	if (!holds(p, transport, 8))
		return OUTCOME_malformed;
	if (p->protocol == (p->family == FAMILY_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return parse_icmp(p, transport[0], *(__be16 *)(transport + 4));
	if (is_icmp)
		return OUTCOME_next; /* the other family's: just a protocol number here */
	parse_ports(p, transport);
	return OUTCOME_next;
}

#endif
