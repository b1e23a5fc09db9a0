/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* parse: a frame in, addresses and (for packets that are ours) ports out. Never changes the packet.
 * The network part runs for every packet of the router and is kept short; the transport part only
 * for packets to a service. What it does not understand passes untouched. */
#ifndef CATSBPF_BPF_PARSE_H
#define CATSBPF_BPF_PARSE_H

#include "packet.h"

#define IP_FRAGMENT        0x3fff /* MF or an offset */
#define MAX_EXTENSIONS     6
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
	p->protocol = ip->protocol;
	p->traffic_class = ip->tos;
	p->ttl = ip->ttl;
	p->fragment = !!(ip->frag_off & bpf_htons(IP_FRAGMENT));
	p->transport = ETH_HLEN + header_bytes;
	p->source = address_of_ipv4(ip->saddr);
	p->destination = address_of_ipv4(ip->daddr);
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
	p->next_header = ip->nexthdr;
	p->protocol = ip->nexthdr;
	p->traffic_class = first >> 20;
	p->ttl = ip->hop_limit;
	p->transport = ETH_HLEN + sizeof(*ip);
	p->source = address_of_ipv6(&ip->saddr);
	p->destination = address_of_ipv6(&ip->daddr);
	return OUTCOME_next;
}

static __always_inline enum outcome parse_network(struct packet *p)
{
	void *data = packet_data(p);
	__be16 type;

	if (data + ETH_HLEN > packet_end(p))
		return OUTCOME_malformed;
	type = *(__be16 *)(data + 12); /* struct ethhdr is packed: by its field, two byte loads */
	if (type == bpf_htons(ETH_P_IP))
		return parse_ipv4(p, data + ETH_HLEN);
	if (type == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(p, data + ETH_HLEN);
	return OUTCOME_not_ip;
}

/* Walks the IPv6 extension headers: a global subprogram, verified once and run only where there
 * are any. In: offset and type of the first header. Out: offset << 8 | type of the transport;
 * negative outcome when the walk ends before one. */
__noinline int walk_extensions(struct xdp_md *context, __u32 offset, __u32 next_header)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;

	for (int i = 0; i < MAX_EXTENSIONS; i++) {
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
		if (offset > 1500)
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

/* Ports, SYN flag, echo identifier. */
static __always_inline enum outcome parse_transport(struct packet *p)
{
	__u8 *transport;
	__u32 need;

	if (p->fragment)
		return OUTCOME_fragment;
	if (p->family == FAMILY_IPV6 && p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP) {
		int found = walk_extensions(p->context, p->transport, p->next_header);

		if (found < 0)
			return (enum outcome)-found;
		p->protocol = found & 0xff;
		p->transport = (__u32)found >> 8 & MAX_TRANSPORT_OFFSET;
	}
	if (p->protocol == IPPROTO_TCP)
		need = sizeof(struct tcphdr);
	else if (has_ports(p->protocol) || p->protocol == IPPROTO_ICMP || p->protocol == IPPROTO_ICMPV6)
		need = 8;
	else
		return OUTCOME_next;
	if (p->transport + need > p->ip_bytes + ETH_HLEN)
		return OUTCOME_malformed;
	transport = packet_data(p) + (p->transport & MAX_TRANSPORT_OFFSET); /* known to be small: kernel 6.1 */
	if ((void *)(transport + 8) > packet_end(p))
		return OUTCOME_malformed;
	if (p->protocol == (p->family == FAMILY_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return parse_icmp(p, transport[0], *(__be16 *)(transport + 4));
	if (!has_ports(p->protocol))
		return OUTCOME_next; /* the other family's ICMP: just a protocol number here */
	p->source_port = *(__be16 *)transport;
	p->destination_port = *(__be16 *)(transport + 2);
	if (p->protocol == IPPROTO_TCP) {
		if ((void *)(transport + sizeof(struct tcphdr)) > packet_end(p))
			return OUTCOME_malformed;
		p->syn = (transport[13] & 0x12) == 0x02; /* SYN without ACK */
	}
	return OUTCOME_next;
}

#endif
