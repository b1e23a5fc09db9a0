/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* encap: a packet with instance and path in, the same packet behind Ethernet, IPv4, UDP, Geneve and
 * the CATS option out. The outer header is the path's template; per packet change lengths, checksum,
 * TOS, source port, inner protocol and the two ids. The inner TTL counts one hop. */
#ifndef CATSBPF_BPF_ENCAP_H
#define CATSBPF_BPF_ENCAP_H

#include "icmp.h"

/* Offsets in the outer frame. */
#define OUTER_TOS          15
#define OUTER_TOTAL_LENGTH 16
#define OUTER_CHECKSUM     24
#define OUTER_UDP          34
#define OUTER_GENEVE       42
#define OUTER_OPTION       50
#define OUTER_IDS          (OUTER_OPTION + 8)
/* What the tunnel adds to an IP packet. */
#define TUNNEL_OVERHEAD    (GENEVE_HEADROOM - ETH_HLEN)
#define GENEVE_SOURCE_PORTS 49152
/* Source port: 14 bits of the flow's hash, apart from those that choose ring slot (the top) and
 * flow-table lines (the bottom). */
#define SOURCE_PORT_SHIFT  42

static __always_inline void decrement_ttl(struct packet *p, void *header)
{
	if (p->family == FAMILY_IPV4) {
		struct iphdr *ip = header;
		__u32 sum = ip->check + (__u32)bpf_htons(0x0100);

		ip->ttl--;
		ip->check = sum + (sum >= 0xffff);
	} else {
		((struct ipv6hdr *)header)->hop_limit--;
	}
}

static __always_inline enum outcome encap(struct packet *p)
{
	__u32 outer_bytes = p->ip_bytes + TUNNEL_OVERHEAD;
	const __u64 *from = (const void *)p->path->header;
	__u8 traffic_class;
	__u32 sum;
	void *data;

	if (unlikely(outer_bytes > p->path->mtu))
		return answer_too_big(p, p->path->mtu - TUNNEL_OVERHEAD);
	if (bpf_xdp_adjust_head(p->context, -TUNNEL_OVERHEAD))
		return OUTCOME_encap_failed;
	data = packet_data(p);
	if (data + GENEVE_HEADROOM + sizeof(struct iphdr) > packet_end(p))
		return OUTCOME_encap_failed;
	traffic_class = traffic_class_of(p->family, data + GENEVE_HEADROOM);
	decrement_ttl(p, data + GENEVE_HEADROOM);
#pragma clang loop unroll(full)
	for (int i = 0; i < GENEVE_HEADROOM / 8; i++)
		((__u64 *)data)[i] = from[i];
	*(__u8 *)(data + OUTER_TOS) = traffic_class;
	*(__be16 *)(data + OUTER_TOTAL_LENGTH) = bpf_htons(outer_bytes);
	sum = (__u16) ~*(const __be16 *)(p->path->header + OUTER_CHECKSUM);
	sum += bpf_htons(outer_bytes) + bpf_htons(traffic_class);
	*(__be16 *)(data + OUTER_CHECKSUM) = ~fold(sum);
	*(__be16 *)(data + OUTER_UDP) =
		bpf_htons(GENEVE_SOURCE_PORTS | (__u16)((p->hash >> SOURCE_PORT_SHIFT) & 0x3fff));
	*(__be16 *)(data + OUTER_UDP + 4) = bpf_htons(outer_bytes - sizeof(struct iphdr));
	*(__be16 *)(data + OUTER_GENEVE + 2) =
		p->family == FAMILY_IPV4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	*(__u64 *)(data + OUTER_IDS) = *(const __u64 *)p->instance->option_ids;
	return OUTCOME_next;
}

#endif
