/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What is known about the packet in hand; every stage reads it and adds to it. */
#ifndef CATSBPF_BPF_PACKET_H
#define CATSBPF_BPF_PACKET_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "tables.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define READ_ONCE(x)     (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile typeof(x) *)&(x) = (v))

#define IP_FRAGMENT 0x3fff /* MF or an offset */
#define FAMILY_IPV4 4
#define FAMILY_IPV6 6

struct packet {
	struct xdp_md *context;
	__u32 bytes;                /* of the frame as it arrived: what counters count */
	const struct interface *interface; /* that it came in by */
	__u32 view;                 /* side of the view, read once per packet */

	void *network;              /* its IP header, read where needed; until the frame's head moves */
	__u32 ip_bytes;             /* IP packet by its own length field */
	__u32 transport;            /* offset of the transport header in the frame */
	__u8 family;                /* FAMILY_*, never an ethertype or AF_* */
	__u8 protocol;              /* IPPROTO_* of the transport; IPv6, before parse_transport(): what follows the header */
	__u8 syn;                   /* TCP: opens a connection */
	__u8 echo;                  /* ICMP echo request */
	__be16 source_port;         /* ICMP echo: identifier */
	__be16 destination_port;

	__u8 locator_kind;
	__u32 target;               /* of the locator: service index, or VNI */
	const struct service_record *service;
	__u64 hash;                 /* keyed hash of the flow */
	__u16 slot;                 /* instance slot */
	__u8 midflow;
	const struct instance *instance;
	const struct path *path;
};

static __always_inline void *packet_data(const struct packet *p)
{
	return (void *)(long)p->context->data;
}

static __always_inline void *packet_end(const struct packet *p)
{
	return (void *)(long)p->context->data_end;
}

static __always_inline __u64 load64(const void *from)
{
	return *(const __u64 *)from;
}

static __always_inline __u32 load32(const void *from)
{
	return *(const __u32 *)from;
}

static __always_inline __u16 load16(const void *from)
{
	return *(const __u16 *)from;
}

/* IPv4 as ::ffff:a.b.c.d, in the two halves of a struct address. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define IPV4_MAPPED(a) ((__u64)(a) << 32 | 0xffff0000ULL)
#define IPV4_OF(low)   ((__be32)((low) >> 32))
#else
#define IPV4_MAPPED(a) (0x0000ffff00000000ULL | (a))
#define IPV4_OF(low)   ((__be32)(low))
#endif

static __always_inline int is_mapped_ipv4(struct address a)
{
	return !a.high && a.low == IPV4_MAPPED(IPV4_OF(a.low));
}

static __always_inline struct address address_of_ipv4(__be32 a)
{
	return (struct address){.high = 0, .low = IPV4_MAPPED(a)};
}

/* By two loads, unaligned as they are in a frame (x86, arm64). */
static __always_inline struct address address_of_ipv6(const void *a)
{
	const __u64 *half = a;

	return (struct address){.high = half[0], .low = half[1]};
}

static __always_inline struct address source_of(const struct packet *p)
{
	return p->family == FAMILY_IPV4 ? address_of_ipv4(((const struct iphdr *)p->network)->saddr) :
					  address_of_ipv6(&((const struct ipv6hdr *)p->network)->saddr);
}

static __always_inline struct address destination_of(const struct packet *p)
{
	return p->family == FAMILY_IPV4 ? address_of_ipv4(((const struct iphdr *)p->network)->daddr) :
					  address_of_ipv6(&((const struct ipv6hdr *)p->network)->daddr);
}

static __always_inline __u8 ttl_of(const struct packet *p)
{
	return p->family == FAMILY_IPV4 ? ((const struct iphdr *)p->network)->ttl :
					  ((const struct ipv6hdr *)p->network)->hop_limit;
}

/* DSCP and ECN, of the IP header given. */
static __always_inline __u8 traffic_class_of(__u8 family, const void *network)
{
	return family == FAMILY_IPV4 ? ((const struct iphdr *)network)->tos : bpf_ntohl(*(const __be32 *)network) >> 20;
}

/* IPv6 fragments show as an extension header. */
static __always_inline int is_fragment(const struct packet *p)
{
	return p->family == FAMILY_IPV4 && ((const struct iphdr *)p->network)->frag_off & bpf_htons(IP_FRAGMENT);
}

/* One's complement sums (RFC 1071, RFC 1624). */
static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return sum + (sum >> 16);
}

static __always_inline __u16 fold64(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return fold((__u32)sum);
}

#endif
