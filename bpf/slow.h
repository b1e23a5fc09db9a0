/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* slow: a frame that the XDP program passed with a mark in, out to its next hop by the kernel's
 * neighbour table (never by plain routing: that drops a local source as martian). */
#ifndef CATSBPF_BPF_SLOW_H
#define CATSBPF_BPF_SLOW_H

#include <linux/pkt_cls.h>

#include "forward.h"

static __always_inline int take_mark(const struct __sk_buff *skb, struct slow_mark *mark)
{
	struct slow_mark *meta = (void *)(long)skb->data_meta;

	if ((void *)(meta + 1) > (void *)(long)skb->data || meta->magic != SLOW_MAGIC)
		return 0;
	*mark = *meta;
	return 1;
}

/* The mark names no interface: asks the kernel's FIB for interface and next hop of the packet. */
static __always_inline int route(struct __sk_buff *skb, struct slow_mark *mark)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct bpf_fib_lookup fib = {.ifindex = skb->ingress_ifindex};
	struct iphdr *ip = data + ETH_HLEN;
	struct ipv6hdr *ip6 = data + ETH_HLEN;
	long found;

	if (skb->protocol == bpf_htons(ETH_P_IP) && (void *)(ip + 1) <= end) {
		fib.family = AF_INET;
		fib.ipv4_dst = ip->daddr;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6) && (void *)(ip6 + 1) <= end) {
		fib.family = AF_INET6;
		__builtin_memcpy(fib.ipv6_dst, &ip6->daddr, sizeof(fib.ipv6_dst));
	} else {
		return 0;
	}
	found = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return 0;
	mark->ifindex = fib.ifindex;
	mark->family = fib.family; /* the lookup may have found a gateway of the other family */
	mark->next_hop4 = fib.ipv4_dst;
	if (fib.family == AF_INET6)
		__builtin_memcpy(&mark->next_hop6, fib.ipv6_dst, sizeof(mark->next_hop6));
	return 1;
}

static __always_inline int send_slow(struct __sk_buff *skb)
{
	struct bpf_redir_neigh next_hop = {};
	struct slow_mark mark;
	int by_destination;
	long verdict;

	if (!take_mark(skb, &mark))
		return TC_ACT_UNSPEC; /* none of ours: the filters behind us decide */
	if (!mark.ifindex && !route(skb, &mark)) {
		count(&outcomes, OUTCOME_slow_failed, 1, skb->len);
		return TC_ACT_SHOT;
	}
	next_hop.nh_family = mark.family;
	if (mark.family == AF_INET)
		next_hop.ipv4_nh = mark.next_hop4;
	else
		__builtin_memcpy(next_hop.ipv6_nh, &mark.next_hop6, sizeof(next_hop.ipv6_nh));
	by_destination = mark.family == AF_INET && !mark.next_hop4;
	verdict = bpf_redirect_neigh(mark.ifindex, by_destination ? NULL : &next_hop,
				     by_destination ? 0 : (int)sizeof(next_hop), 0);
	count(&outcomes, verdict == TC_ACT_REDIRECT ? OUTCOME_slow_sent : OUTCOME_slow_failed, 1, skb->len);
	return (int)verdict;
}

#endif
