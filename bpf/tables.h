/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The maps of the data plane, one definition each; layouts and meaning: maps/contract.h. The loader
 * sizes `flows`, `flow_records` and `rings` before load. Everything that user space reads or writes
 * often is memory-mapped; `sweep` holds a timer and cannot be. */
#ifndef CATSBPF_BPF_TABLES_H
#define CATSBPF_BPF_TABLES_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps/contract.h"
#include "maps/outcomes.h"

#define DEFAULT_FLOW_LINES (1 << 17) /* 524288 flows */
#define DEFAULT_RING_LINES (1 << 17)

#define MAPPED_ARRAY(name, entries, type_)             \
	struct {                                       \
		__uint(type, BPF_MAP_TYPE_ARRAY);      \
		__uint(map_flags, BPF_F_MMAPABLE);     \
		__uint(max_entries, entries);          \
		__type(key, __u32);                    \
		__type(value, type_);                  \
	} name SEC(".maps")

#define PER_CPU_ARRAY(name, entries, type_)            \
	struct {                                       \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); \
		__uint(max_entries, entries);          \
		__type(key, __u32);                    \
		__type(value, type_);                  \
	} name SEC(".maps")

/* A table of fixed size is a C variable in a section, thus in a map, of its own: a load reads it, without a look-up
 * that costs a dozen instructions and could fail. `used`: written from outside, so never taken for constant zero. */
#define IN_MAP(name) __attribute__((used, section(".bss." name)))

static struct control control IN_MAP("control");
static struct secret secret IN_MAP("secret");
static struct interface interfaces[MAX_INTERFACES] IN_MAP("interfaces");
static struct address own_addresses[MAX_OWN_ADDRESSES] IN_MAP("own_addresses");
static struct view_header view_headers[2] IN_MAP("view_headers");
static struct locator locators[2][MAX_LOCATORS] IN_MAP("locators");
static struct service_record services[2][MAX_SERVICES] IN_MAP("services");
static struct instance instances[MAX_INSTANCES] IN_MAP("instances");
static struct path paths[MAX_PATHS] IN_MAP("paths");
static struct delivery deliveries[MAX_DELIVERIES] IN_MAP("deliveries");

/* Address of an element, index in bounds, computed once: the compiler, which knows the table's, would do it again at
 * each use. */
#define AT(table, index)                                       \
	({                                                     \
		typeof(&(table)[0]) element = &(table)[index]; \
		asm("" : "+r"(element));                       \
		element;                                       \
	})

static __always_inline const struct path *path_of(const struct instance *instance)
{
	return AT(paths, instance->path % MAX_PATHS);
}

MAPPED_ARRAY(rings, DEFAULT_RING_LINES, struct ring_line);
MAPPED_ARRAY(flows, DEFAULT_FLOW_LINES, struct flow_line);
MAPPED_ARRAY(flow_records, DEFAULT_FLOW_LINES * FLOW_LINE_ENTRIES, struct flow_record);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC); /* filled by the agent only: nothing is allocated per packet */
	__uint(max_entries, MAX_SESSIONS);
	__type(key, struct session_key);
	__type(value, struct session);
} sessions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sweep);
} sweep SEC(".maps");

PER_CPU_ARRAY(outcomes, OUTCOME_COUNT, struct counter);
PER_CPU_ARRAY(instance_counters, MAX_INSTANCES, struct counter);
PER_CPU_ARRAY(delivery_counters, MAX_DELIVERIES, struct counter);
PER_CPU_ARRAY(flow_counters, 1, struct flow_counters);
PER_CPU_ARRAY(icmp_budget, 1, struct icmp_budget);

/* Set by the loader before load. */
const volatile __u32 flow_line_mask = DEFAULT_FLOW_LINES - 1; /* flows' max_entries - 1, a power of two - 1 */
const volatile __u32 netns_inode = 0; /* our network namespace; 0: redirect errors are not counted */

#endif
