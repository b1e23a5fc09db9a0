/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The contract between the data plane (bpf/, compiled by clang for BPF) and everything in user
 * space (C++): every key and value of every pinned map, declared once. Fixed widths, explicit
 * padding, sizes and offsets asserted on both sides. maps/README.md says who writes and reads what.
 *
 * Byte order: fields named __be16/__be32 and the bytes of `struct address` are in network order,
 * all others in host order. */
#ifndef CATSBPF_MAPS_CONTRACT_H
#define CATSBPF_MAPS_CONTRACT_H

#include <linux/bpf.h>
#include <linux/types.h>

#ifdef __cplusplus
#define CATSBPF_ASSERT(condition, text) static_assert(condition, text)
#define CATSBPF_INLINE inline
namespace catsbpf::maps {
#else
#define CATSBPF_ASSERT(condition, text) _Static_assert(condition, text)
#define CATSBPF_INLINE static inline __attribute__((always_inline))
#endif

/* Changes when any layout below changes; stands in `control` and is checked before any pinned map
 * is used. */
#define CATSBPF_LAYOUT 3

/* Sizes of the fixed tables; the flow table and the ring pool are sized by the agent at load. */
#define MAX_INTERFACES 256       /* open addressing by ifindex */
#define INTERFACE_PROBES 8
#define MAX_FURTHER_MACS 8       /* of one interface */
#define MAX_OWN_ADDRESSES 4096   /* in lines, two candidates per address */
#define OWN_ADDRESS_LINE 4
#define OWN_ADDRESS_PROBES (2 * OWN_ADDRESS_LINE)
#define MAX_SERVICES 4096        /* records per view side */
#define MAX_LOCATORS 32768       /* slots per view side, open addressing */
#define LOCATOR_PROBES 8
#define LOCATOR_CHAIN 16         /* port rules of one prefix */
#define MAX_PREFIX_LENGTHS 4     /* distinct prefix lengths per address family and view */
#define MAX_INSTANCES 65536      /* slots are 16 bit; slot 0 means plain routing */
#define MAX_PATHS 4096           /* path 0 is never used */
#define MAX_DELIVERIES 4096      /* local instances of an egress, open addressing by CSCI-ID */
#define DELIVERY_PROBES 8
#define MAX_SESSIONS 65536
#define RING_LINE_SLOTS 32       /* a ring is a run of whole 64-byte lines of 16-bit slots */
#define FLOW_LINE_ENTRIES 4

#define SLOT_PLAIN 0             /* instance slot of flows that began under bypass: plain routing */

/* An IPv6 address, or an IPv4 address as ::ffff:a.b.c.d; bytes in network order. */
struct address {
	__u64 high;
	__u64 low;
};
CATSBPF_ASSERT(sizeof(struct address) == 16, "address");

/* ---- control: one entry, memory-mapped, written by the agent ---- */
struct control {
	__u32 layout;            /* CATSBPF_LAYOUT */
	__u32 view;              /* 0 or 1: the side that packets see; one 4-byte store flips it */
	__u32 bypass;            /* 1: new flows follow plain routing */
	__u32 hz;                /* jiffies per second */
	__u64 heartbeat;         /* jiffies of the agent's last sign of life */
	struct address icmp_source4; /* source of ICMP errors that the data plane makes */
	struct address icmp_source6;
};
CATSBPF_ASSERT(sizeof(struct control) == 56, "control");

/* ---- secret: one entry; keys SipHash; made once at random, never changed by an upgrade ---- */
struct secret {
	__u64 key[2];
};
CATSBPF_ASSERT(sizeof(struct secret) == 16, "secret");

/* ---- interfaces ---- */
enum interface_side {
	SIDE_CLIENT = 1,         /* packets from clients to services arrive here */
	SIDE_UNDERLAY = 2,       /* tunnel packets arrive here */
	SIDE_SERVICE = 4,        /* instances live here */
};
struct interface {
	__u32 ifindex;           /* 0: free. Found at (ifindex + i) % MAX_INTERFACES, i < INTERFACE_PROBES */
	__u32 sides;             /* enum interface_side, or-ed */
	__u8 mac[6];             /* frames to other addresses are not for us; all zero: not checked */
	__u8 further_macs;       /* used entries of further_mac */
	__u8 pad;
	__u8 further_mac[MAX_FURTHER_MACS][6]; /* of devices over this one: VRRP's (macvlan), a bond's, a bridge's */
};
CATSBPF_ASSERT(sizeof(struct interface) == 64, "interface");

/* ---- the view: exists twice, [side] or [side][i]; published whole by control.view ---- */
struct prefix_length {
	__u64 mask_high;         /* masks of `struct address`, network order */
	__u64 mask_low;
	__u32 length;            /* 0..128, counted in the 128-bit address (IPv4 /24 is 120) */
	__u32 pad;
};
struct view_header {
	__u64 epoch;             /* counts publications, never reused */
	__u64 published_ns;      /* CLOCK_MONOTONIC */
	__u64 locator_seed;
	__u32 lengths4;          /* used entries of length4, longest prefix first */
	__u32 lengths6;
	__u32 services;          /* service locators in the view; 0: the addresses of services are not known here */
	__u32 pad;
	struct prefix_length length4[MAX_PREFIX_LENGTHS];
	struct prefix_length length6[MAX_PREFIX_LENGTHS];
};
CATSBPF_ASSERT(sizeof(struct prefix_length) == 24, "prefix_length");
CATSBPF_ASSERT(sizeof(struct view_header) == 40 + 8 * 24, "view_header");

enum locator_kind {
	LOCATOR_FREE = 0,
	LOCATOR_SERVICE = 1,     /* target: index of the service record */
	LOCATOR_TUNNEL = 2,      /* a tunnel address of this forwarder; target: its VNI, 0: CATS_VNI */
	LOCATOR_FORWARDER = 3,   /* a peer's tunnel address; target: 0 */
};
/* A prefix is found at (locator_hash() + i) % MAX_LOCATORS, i < LOCATOR_PROBES; more rules of the
 * same prefix hang behind the first by `next`, and are not found by hash (chained = 1). A free slot
 * ends the search: a removed locator must not leave a hole before others. A packet that no rule of
 * the longest prefix matches goes on to the next shorter one; ICMP echo matches any rule. */
struct locator {
	struct address prefix;
	__u8 kind;               /* enum locator_kind */
	__u8 length;             /* as prefix_length.length */
	__u8 protocol;           /* IPPROTO_*, 0: any */
	__u8 chained;
	__u16 port_min;          /* destination port, inclusive; 0 and 65535: any */
	__u16 port_max;
	__u32 target;
	__u32 next;              /* 1 + index of the prefix' next rule within the side, 0: last */
};
CATSBPF_ASSERT(sizeof(struct locator) == 32, "locator");

CATSBPF_INLINE __u32 locator_hash(struct address a, __u32 length, __u64 seed)
{
	__u64 h = (a.high ^ seed) * 0x9e3779b97f4a7c15ULL;

	/* Neighbours differ in the top bits of `low`, and a product carries upwards only: folded down first. */
	h = ((h ^ (h >> 32)) + a.low + length) * 0xff51afd7ed558ccdULL;
	h = (h ^ (h >> 32)) * 0x9e3779b97f4a7c15ULL;
	return (__u32)(h >> 32);
}

/* ---- own_addresses: those of this host's interfaces, and the broadcast addresses of their networks: no other host
 * may have them, so a packet that comes in from one is martian ----
 * Found at own_address_place(own_address_hash(), i), i < OWN_ADDRESS_PROBES; all probes are read. Zero: free. */
CATSBPF_INLINE __u32 own_address_hash(struct address a)
{
	return locator_hash(a, 128, 0);
}

CATSBPF_INLINE __u32 own_address_place(__u32 hash, __u32 probe)
{
	__u32 line = probe < OWN_ADDRESS_LINE ? hash : hash >> 16;

	return line % (MAX_OWN_ADDRESSES / OWN_ADDRESS_LINE) * OWN_ADDRESS_LINE + probe % OWN_ADDRESS_LINE;
}

/* Affinity: which bits of the tuple make a flow, and how long it lives without packets
 * (R090-R097). A service record's index is its handle: it stays while the service exists, and is
 * part of the flow. */
struct service_record {
	__u32 cs_id;             /* 0: unused */
	__u32 ring_first;        /* index of the ring's first line in `rings` */
	__u32 ring_slots;        /* 0: no instance may take a new flow */
	__u32 timeout;           /* jiffies */
	struct address source_mask; /* bits of an IPv6 source address that make the flow */
	__u16 source_port_mask;
	__u16 destination_port_mask;
	__u8 protocol_mask;
	__u8 destination;        /* 1: the destination address is part of the flow */
	__u8 pad[2];             /* 0 */
	__be32 source_ignore4;   /* bits of an IPv4 source address that do not; 0: all 32 count */
	__u8 reserved[20];
};
CATSBPF_ASSERT(sizeof(struct service_record) == 64, "service_record");

/* ---- rings: pool of immutable runs of lines; each slot is an instance slot ---- */
struct ring_line {
	__u16 slot[RING_LINE_SLOTS];
};
CATSBPF_ASSERT(sizeof(struct ring_line) == 64, "ring_line");

/* ---- instances: by slot; one slot means one instance for ever ---- */
enum instance_state {
	INSTANCE_FREE = 0,
	INSTANCE_ACTIVE = 1,     /* keeps its flows, may be in rings */
	INSTANCE_DRAINING = 2,   /* keeps its flows, is in no ring */
	INSTANCE_DEAD = 3,       /* its flows move to another instance */
	INSTANCE_RETIRED = 4,    /* gone; the slot waits until no flow holds it */
};
struct instance {
	__u32 cs_id;
	__u32 csci_id;
	__u16 path;              /* index into `paths` */
	__u16 service;           /* index of the service record */
	__u8 state;              /* enum instance_state */
	__u8 pad[3];
	__be32 option_ids[2];    /* CS-ID and CSCI-ID as they stand in the CATS option */
	__u8 reserved[8];
};
CATSBPF_ASSERT(sizeof(struct instance) == 32, "instance");

/* ---- paths: ingress to egress, the outer header ready made ---- */
enum path_state {
	PATH_FREE = 0,
	PATH_RESOLVED = 1,       /* template and ifindex are complete: XDP redirects */
	PATH_UNRESOLVED = 2,     /* the next hop is being asked for: alive, the tc program sends */
	PATH_DEAD = 3,           /* no route, interface down, next hop failed, forwarder removed: its flows move */
};
/* Ethernet 14, IPv4 20, UDP 8, Geneve 8, CATS option 4 + 12 (struct cats_option). */
#define GENEVE_HEADROOM 66
struct path {
	__u8 header[72];         /* first GENEVE_HEADROOM bytes. IPv4: total length and TOS 0, with the checksum over
	                          * that. Filled per packet: both, UDP source port and length, Geneve
	                          * protocol, CS-ID and CSCI-ID */
	__u32 ifindex;           /* underlay interface */
	__be32 next_hop4;        /* for the tc way; 0: on-link */
	__u16 mtu;               /* of the underlay interface towards the egress (IP packet size) */
	__u8 state;              /* enum path_state */
	__u8 pad[5];
	struct address egress;   /* tunnel address of the egress */
	__u8 reserved[24];
};
CATSBPF_ASSERT(sizeof(struct path) == 128, "path");

/* The CATS option of Geneve (RFC 8926 section 3.5): class from the experimental range. */
#define GENEVE_PORT 6081
#define CATS_OPTION_CLASS 0xff0c
#define CATS_OPTION_TYPE 0x01    /* not critical */
#define CATS_OPTION_WORDS 3      /* data length / 4 */
#define CATS_OPTION_VERSION 1
#define CATS_VNI 0xca75          /* default virtual network identifier */
struct cats_option {
	__be16 option_class;
	__u8 type;
	__u8 length;             /* lower 5 bits: CATS_OPTION_WORDS */
	__u8 version;
	__u8 flags;              /* 0 */
	__be16 reserved;         /* 0 */
	__be32 cs_id;
	__be32 csci_id;
};
CATSBPF_ASSERT(sizeof(struct cats_option) == 16, "cats_option");

/* ---- deliveries: local instances of an egress ---- */
enum delivery_state {
	DELIVERY_FREE = 0,
	DELIVERY_RESOLVED = 1,
	DELIVERY_UNRESOLVED = 2, /* the tc program sends */
};
/* Found at (csci_id * 0x9e3779b1u + i) % MAX_DELIVERIES, i < DELIVERY_PROBES; all probes are read. */
struct delivery {
	__u32 cs_id;
	__u32 csci_id;
	struct address contact;  /* on-link address of the instance */
	__u32 ifindex;           /* service interface */
	__u8 state;              /* enum delivery_state */
	__u8 pad[3];
	__u8 ethernet[12];       /* destination and source MAC */
	__u8 pad2[4];
	struct address contact6; /* for IPv6 packets on the tc way; zero: the packet's destination */
};
CATSBPF_ASSERT(sizeof(struct delivery) == 64, "delivery");

CATSBPF_INLINE __u32 delivery_hash(__u32 csci_id)
{
	return csci_id * 0x9e3779b1u;
}

/* ---- sessions: granted requests pin a client's new flows of a service to an instance (R048) ---- */
struct session_key {
	struct address client;
	__u32 cs_id;
	__u32 pad;
};
struct session {
	__u64 expires;           /* jiffies */
	__u64 reservation;       /* the agent's id of the reservation */
	__u16 slot;              /* instance slot */
	__u8 pad[6];
};
CATSBPF_ASSERT(sizeof(struct session_key) == 24, "session_key");
CATSBPF_ASSERT(sizeof(struct session) == 24, "session");

/* ---- flows: the hot table; two candidate lines per flow ----
 * word: tag 40 | generation 4 | state 4 | instance slot 16 (from the top). 0: free. */
#define FLOW_TAG_SHIFT 24
#define FLOW_GENERATION_SHIFT 20
#define FLOW_GENERATION_MASK 0xfULL
#define FLOW_STATE_SHIFT 16
#define FLOW_STATE_USED 1ULL     /* always set: a used word is never 0 */
#define FLOW_STATE_CREDIT 2ULL   /* holds a credit */
#define FLOW_STATE_SESSION 4ULL  /* placed by a session */
#define FLOW_STATE_TENTATIVE 8ULL /* being inserted: not yet proven to stand only once (some ns) */
#define FLOW_SLOT_MASK 0xffffULL
struct flow_entry {
	__u64 word;              /* changed by compare-and-swap only */
	__u64 seen;              /* jiffies (low 32 bits of bpf_jiffies64) << 32 | packets (low 32 bits) */
};
struct flow_line {
	struct flow_entry entry[FLOW_LINE_ENTRIES];
};
CATSBPF_ASSERT(sizeof(struct flow_line) == 64, "flow_line");

/* ---- flow_records: the cold table, [line * FLOW_LINE_ENTRIES + entry]; never on the established path ---- */
struct flow_record {
	struct address source;
	struct address destination;
	__u64 word;              /* flow_entry.word that this record belongs to; else stale */
	__u64 packets;           /* as of the last sweep; now: flow_packets() */
	__u32 created;           /* jiffies, low 32 bits */
	__u32 timeout;           /* jiffies */
	__be16 source_port;      /* ICMP echo: identifier */
	__be16 destination_port;
	__u16 service;           /* index of the service record */
	__u8 protocol;
	__u8 pad;
};
CATSBPF_ASSERT(sizeof(struct flow_record) == 64, "flow_record");

/* Packets of a flow until now: the entry counts modulo 2^32 and is never reset while the flow
 * lives (so that neither the sweep nor a packet can overwrite the other); the record extends it. */
CATSBPF_INLINE __u64 flow_packets(__u64 seen, __u64 folded)
{
	return folded + (__u32)((__u32)seen - (__u32)folded);
}

/* ---- sweep: one entry; holds a bpf_timer, so it cannot be memory-mapped ---- */
struct sweep {
	struct bpf_timer timer;
	__u32 cursor;            /* next line */
	__u32 lines;             /* lines per tick */
	__u64 ticks;
	__u64 passes;            /* whole passes over the table */
};
CATSBPF_ASSERT(sizeof(struct sweep) == 40, "sweep");

#define SWEEP_TICK_MS 50
#define SWEEP_TICKS_PER_PASS 200 /* a whole pass takes 10 s */

/* ---- context of the syscall program `read_jiffies`: filled by it. HZ is 10^9 /
 * clock_getres(CLOCK_MONOTONIC_COARSE) in user space. ---- */
struct clock_reading {
	__u64 jiffies;           /* bpf_jiffies64 */
	__u64 monotonic_ns;      /* at the same time */
};
CATSBPF_ASSERT(sizeof(struct clock_reading) == 16, "clock_reading");

/* ---- counters, per CPU ---- */
struct counter {                 /* outcomes[], instance_counters[slot], delivery_counters[index] */
	__u64 packets;
	__u64 bytes;
};
struct flow_counters {           /* one entry */
	__u64 inserted;
	__u64 expired;           /* by the sweep */
	__u64 displaced;         /* live, to make room */
	__u64 moved;             /* to another instance, because theirs was dead */
	__u64 refused;           /* no place: the packet followed the ring, untracked */
	__u64 raced;             /* lost against another CPU's insert of the same flow */
};

/* ---- icmp_budget: one entry per CPU: a token bucket for the ICMP errors that the data plane makes ----
 * Its unit is a part of a jiffy: a jiffy has ICMP_ERRORS_PER_SECOND of them, an answer costs control.hz. */
#define ICMP_ERRORS_PER_SECOND 1000 /* as the kernel's icmp_msgs_per_sec */
#define ICMP_ERRORS_BURST 50        /* as the kernel's icmp_msgs_burst */
struct icmp_budget {
	__u64 spent;             /* the time until which answers are paid for */
};
CATSBPF_ASSERT(sizeof(struct icmp_budget) == 8, "icmp_budget");

/* ---- XDP metadata: what the XDP program tells the tc program about a packet it could not send ---- */
#define SLOW_MAGIC 0xca75510eu
struct slow_mark {
	__u32 magic;
	__u32 ifindex;           /* 0: let the kernel's FIB decide */
	__be32 next_hop4;        /* IPv4 next hop, when family is AF_INET; 0: the packet's destination */
	__u32 family;            /* AF_INET or AF_INET6: family of the next hop */
	struct address next_hop6;
};
CATSBPF_ASSERT(sizeof(struct slow_mark) == 32, "slow_mark");

#ifdef __cplusplus
}  // namespace catsbpf::maps
#endif
#endif
