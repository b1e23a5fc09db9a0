/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The floor: the least work that a flow-affine, encapsulating XDP forwarder can do. `sip2` parses
 * Ethernet, IPv4 and TCP, hashes the 5-tuple by SipHash-1-3 under a secret key, finds the flow in one
 * of two 64-byte lines, counts the packet in its entry and pushes a ready 50-byte outer header. No
 * services, no views, no counters, no options: what is above it is the price of being a router. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/siphash.h"

#define LINES        (1 << 19)
#define ENTRIES      4
#define OUTER_BYTES  50
#define OUTER_WORDS  7
#define INSTANCES    1024

struct entry {
	__u64 word; /* tag 48 | instance 16 */
	__u64 seen; /* jiffies 32 | packets 32 */
};
struct line {
	struct entry entry[ENTRIES];
};
struct outer {
	__u64 word[OUTER_WORDS + 1];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LINES);
	__type(key, __u32);
	__type(value, struct line);
} floor_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, INSTANCES);
	__type(key, __u32);
	__type(value, struct outer);
} floor_outers SEC(".maps");

const volatile __u64 floor_key[2] = {0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL};

static __always_inline int push_outer(struct xdp_md *context, __u32 instance, __u16 inner_bytes)
{
	struct outer *outer = bpf_map_lookup_elem(&floor_outers, &instance);
	void *data, *end;
	struct iphdr *ip;
	__u32 sum;

	if (!outer || bpf_xdp_adjust_head(context, -OUTER_BYTES))
		return XDP_DROP;
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	if (data + OUTER_BYTES + 14 > end)
		return XDP_DROP;
#pragma clang loop unroll(full)
	for (int i = 0; i < OUTER_WORDS - 1; i++)
		((__u64 *)data)[i] = outer->word[i];
	*(__u16 *)(data + 48) = (__u16)outer->word[6];
	ip = data + ETH_HLEN;
	ip->tot_len = bpf_htons(inner_bytes + OUTER_BYTES - ETH_HLEN);
	sum = (__u16)~ip->check + ip->tot_len;
	ip->check = ~((sum & 0xffff) + (sum >> 16));
	return XDP_TX;
}

static __always_inline int find(struct line *line, __u64 tag, __u64 now, __u32 *instance)
{
#pragma clang loop unroll(full)
	for (int i = 0; i < ENTRIES; i++) {
		__u64 word = line->entry[i].word;

		if (!((word ^ tag) >> 16)) {
			line->entry[i].seen = now << 32 | (__u32)(line->entry[i].seen + 1);
			*instance = word & (INSTANCES - 1);
			return 1;
		}
	}
	return 0;
}

static __always_inline void insert(struct line *a, struct line *b, __u64 word, __u64 now)
{
	int in_a = 0, in_b = 0, at;
	struct entry *entry;
	__u64 old;

#pragma clang loop unroll(full)
	for (int i = 0; i < ENTRIES; i++) {
		in_a += !!a->entry[i].word;
		in_b += !!b->entry[i].word;
	}
	at = (in_a <= in_b ? in_a : in_b) & (ENTRIES - 1);
	entry = in_a <= in_b ? &a->entry[at] : &b->entry[at];
	old = entry->word;
	if (__sync_val_compare_and_swap(&entry->word, old, word) == old)
		entry->seen = now << 32;
}

SEC("xdp")
int sip2(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = data + ETH_HLEN;
	struct tcphdr *tcp = data + ETH_HLEN + sizeof(*ip);
	struct siphash sip = sip_start(floor_key[0], floor_key[1]);
	__u64 hash, tag, now = bpf_jiffies64();
	struct line *first, *second;
	__u32 key, instance;
	__u16 inner_bytes;

	if ((void *)(tcp + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5 ||
	    ip->protocol != 6 || ip->frag_off & bpf_htons(0x3fff))
		return XDP_PASS;
	inner_bytes = bpf_ntohs(ip->tot_len);
	sip_word(&sip, (__u64)ip->saddr << 32 | ip->daddr);
	sip_word(&sip, (__u64)tcp->source << 32 | (__u32)tcp->dest << 8 | ip->protocol);
	instance = ip->saddr & (INSTANCES - 1);
	hash = sip_end(&sip, 0, 16);
	tag = hash & ~0xffffULL;
	key = hash & (LINES - 1);
	first = bpf_map_lookup_elem(&floor_flows, &key);
	if (!first)
		return XDP_DROP;
	if (find(first, tag, now, &instance))
		return push_outer(context, instance, inner_bytes);
	key = (hash >> 24) & (LINES - 1);
	second = bpf_map_lookup_elem(&floor_flows, &key);
	if (!second)
		return XDP_DROP;
	if (!find(second, tag, now, &instance))
		insert(first, second, tag | instance, now);
	return push_outer(context, instance, inner_bytes);
}

char _license[] SEC("license") = "Dual BSD/GPL";
