/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* icmp: a packet too large for its path in, "fragmentation needed" (RFC 1191) or "packet too big"
 * (RFC 4443) to its sender out, by the interface that it came from, at a limited rate (RFC
 * 1812 section 4.3.2.8, RFC 4443 section 2.4 (f)). Global subprograms: verified once, never on the
 * established path. */
#ifndef CATSBPF_BPF_ICMP_H
#define CATSBPF_BPF_ICMP_H

#include "packet.h"

#define ICMP_BYTES         8
#define ICMP4_UNREACHABLE  3
#define ICMP4_FRAG_NEEDED  4
#define ICMP6_PACKET_TOO_BIG 2
#define QUOTE4             512  /* of the packet; with our headers below 576 (RFC 1812) */
#define QUOTE6             1232 /* of the packet; with our headers the minimum MTU (RFC 4443) */
#define IPV6_MINIMUM_MTU   1280
#define ICMP_TTL           64

struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 value; /* IPv4: next-hop MTU in the lower half; IPv6: MTU */
};

/* Takes one answer out of this CPU's bucket, if there is one. */
static __always_inline int may_answer(void)
{
	__u64 now = bpf_jiffies64() * ICMP_ERRORS_PER_SECOND, cost = control.hz;
	__u64 full = now - ICMP_ERRORS_BURST * cost;
	struct icmp_budget *budget;
	__u32 zero = 0;

	budget = bpf_map_lookup_elem(&icmp_budget, &zero);
	if (!budget)
		return 0;
	if (budget->spent < full)
		budget->spent = full;
	if (budget->spent + cost > now)
		return 0;
	budget->spent += cost;
	return 1;
}

/* Room for `headers` bytes between Ethernet and IP header; the frame cut behind `quote` bytes of the
 * packet; Ethernet addresses swapped. */
static __always_inline int make_room(struct xdp_md *context, int headers, int quote, __be16 type)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	__u16 ethernet[6];

	if (data + ETH_HLEN + quote > end)
		return -1;
#pragma clang loop unroll(full)
	for (int i = 0; i < 6; i++)
		ethernet[i] = load16(data + 2 * i);
	if (bpf_xdp_adjust_tail(context, ETH_HLEN + quote - (int)(end - data)) ||
	    bpf_xdp_adjust_head(context, -headers))
		return -1;
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	if (data + ETH_HLEN > end)
		return -1;
#pragma clang loop unroll(full)
	for (int i = 0; i < 6; i++)
		*(__u16 *)(data + 2 * i) = ethernet[(i + 3) % 6];
	*(__be16 *)(data + 12) = type;
	return 0;
}

/* 0: the frame is now the answer; negative: it cannot be made, and the frame may be changed. */
__noinline int answer_frag_needed(struct xdp_md *context, __u32 mtu)
{
	__u32 sum = 0;
	struct icmp_header *icmp;
	struct iphdr *ip;
	void *data;

	if (!IPV4_OF(control.icmp_source4.low) || !may_answer() ||
	    make_room(context, sizeof(*ip) + ICMP_BYTES, QUOTE4, bpf_htons(ETH_P_IP)))
		return -1;
	data = (void *)(long)context->data;
	ip = data + ETH_HLEN;
	icmp = (void *)(ip + 1);
	if ((void *)(icmp + 1) + QUOTE4 > (void *)(long)context->data_end)
		return -1;
	*ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tos = 0xc0, /* internetwork control, as routers send errors (RFC 1812) */
		.tot_len = bpf_htons(sizeof(*ip) + ICMP_BYTES + QUOTE4),
		.ttl = ICMP_TTL,
		.protocol = IPPROTO_ICMP,
		.saddr = IPV4_OF(control.icmp_source4.low),
		.daddr = ((struct iphdr *)(icmp + 1))->saddr,
	};
#pragma clang loop unroll(full)
	for (int i = 0; i < (int)sizeof(*ip); i += 2)
		sum += load16((void *)ip + i);
	ip->check = ~fold(sum);
	*icmp = (struct icmp_header){
		.type = ICMP4_UNREACHABLE,
		.code = ICMP4_FRAG_NEEDED,
		.value = bpf_htonl(mtu & 0xffff),
	};
	sum = bpf_csum_diff(NULL, 0, (void *)icmp, ICMP_BYTES, 0);
	sum = bpf_csum_diff(NULL, 0, (void *)(icmp + 1), QUOTE4, sum);
	icmp->checksum = ~fold(sum);
	return 0;
}

__noinline int answer_packet_too_big(struct xdp_md *context, __u32 mtu)
{
	struct icmp_header *icmp;
	struct ipv6hdr *ip;
	__be32 pseudo[2];
	__u32 sum = 0;
	void *data;

	if ((!control.icmp_source6.high && !control.icmp_source6.low) || !may_answer() ||
	    make_room(context, sizeof(*ip) + ICMP_BYTES, QUOTE6, bpf_htons(ETH_P_IPV6)))
		return -1;
	data = (void *)(long)context->data;
	ip = data + ETH_HLEN;
	icmp = (void *)(ip + 1);
	if ((void *)(icmp + 1) + QUOTE6 > (void *)(long)context->data_end)
		return -1;
	*(__be32 *)ip = bpf_htonl(6u << 28 | 0xc0u << 20);
	ip->payload_len = bpf_htons(ICMP_BYTES + QUOTE6);
	ip->nexthdr = IPPROTO_ICMPV6;
	ip->hop_limit = ICMP_TTL;
	__builtin_memcpy(&ip->saddr, &control.icmp_source6, sizeof(ip->saddr));
	__builtin_memcpy(&ip->daddr, &((struct ipv6hdr *)(icmp + 1))->saddr, sizeof(ip->daddr));
	*icmp = (struct icmp_header){
		.type = ICMP6_PACKET_TOO_BIG,
		.value = bpf_htonl(mtu),
	};
	pseudo[0] = bpf_htonl(ICMP_BYTES + QUOTE6);
	pseudo[1] = bpf_htonl(IPPROTO_ICMPV6);
	sum = bpf_csum_diff(NULL, 0, pseudo, sizeof(pseudo), 0);
	sum = bpf_csum_diff(NULL, 0, (void *)&ip->saddr, 2 * sizeof(ip->saddr) + ICMP_BYTES, sum);
	sum = bpf_csum_diff(NULL, 0, (void *)(icmp + 1), 512, sum);
	sum = bpf_csum_diff(NULL, 0, (void *)(icmp + 1) + 512, 512, sum);
	sum = bpf_csum_diff(NULL, 0, (void *)(icmp + 1) + 1024, QUOTE6 - 1024, sum);
	icmp->checksum = ~fold(sum);
	return 0;
}

/* `room`: the largest packet that the path takes. */
static __always_inline enum outcome answer_too_big(struct packet *p, __u32 room)
{
	int failed;

	if (p->family == FAMILY_IPV4) {
		failed = answer_frag_needed(p->context, room);
	} else {
		/* Below the minimum MTU of IPv6 only a packet above it has an answer. */
		__u32 mtu = room < IPV6_MINIMUM_MTU ? IPV6_MINIMUM_MTU : room;

		failed = p->ip_bytes <= mtu || answer_packet_too_big(p->context, mtu);
	}
	return failed ? OUTCOME_packet_too_big_dropped : OUTCOME_packet_too_big;
}

#endif
