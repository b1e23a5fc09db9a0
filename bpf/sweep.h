/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* sweep: walks the flow table in slices, one per timer tick, a whole pass in about 10 s: adds the
 * packets counted in entries to their records and frees entries whose timeout has passed. Runs in
 * the kernel alone, so that flows expire with the agent down. */
#ifndef CATSBPF_BPF_SWEEP_H
#define CATSBPF_BPF_SWEEP_H

#include <linux/time.h>

#include "place.h"

#define ORPHAN_SECONDS 60 /* an entry that never got its record: cannot happen, but must not stay */
#define SWEEP_NS       (SWEEP_TICK_MS * 1000000ULL)

struct sweep_work {
	__u32 first;
	__u32 now;
	__u32 orphan_timeout;
	__u32 expired;
};

static __always_inline void sweep_entry(struct flow_entry *entry, __u32 index, struct sweep_work *work)
{
	__u64 word = READ_ONCE(entry->word), seen;
	struct flow_record *record;
	__u32 timeout;
	__s32 idle;

	if (!word || word & TENTATIVE)
		return;
	record = bpf_map_lookup_elem(&flow_records, &index);
	if (!record)
		return;
	/* The record first: once it has the entry's word, `seen` is this flow's. */
	timeout = READ_ONCE(record->word) == word ? record->timeout : work->orphan_timeout;
	seen = READ_ONCE(entry->seen);
	if (READ_ONCE(record->word) == word)
		record->packets = flow_packets(seen, record->packets);
	idle = (__s32)(work->now - (__u32)(seen >> 32));
	if (idle > 0 && (__u32)idle > timeout && swap(entry, word, 0))
		work->expired++;
}

static int sweep_line(__u32 i, struct sweep_work *work)
{
	__u32 key = (work->first + i) & flow_line_mask;
	struct flow_line *line = bpf_map_lookup_elem(&flows, &key);

	if (!line)
		return 1;
#pragma clang loop unroll(disable)
	for (__u32 e = 0; e < FLOW_LINE_ENTRIES; e++)
		sweep_entry(&line->entry[e], key * FLOW_LINE_ENTRIES + e, work);
	return 0;
}

static __always_inline void sweep_slice(struct sweep *s)
{
	__u32 lines = s->lines;
	struct flow_counters *counters = counters_of_flows();
	struct sweep_work work = {
		.first = s->cursor,
		.now = (__u32)bpf_jiffies64(),
		.orphan_timeout = ORPHAN_SECONDS * (control.hz ? control.hz : 1000),
	};

	bpf_loop(lines, sweep_line, &work, 0);
	if (counters)
		counters->expired += work.expired;
	s->ticks++;
	s->cursor += lines;
	if (s->cursor > flow_line_mask) {
		s->cursor &= flow_line_mask;
		s->passes++;
	}
}

static int sweep_tick(void *map, __u32 *key, struct sweep *s)
{
	(void)map;
	(void)key;
	sweep_slice(s);
	bpf_timer_start(&s->timer, SWEEP_NS, 0);
	return 0;
}

/* Arms the sweep with this program's callback, whatever was armed before: a program that replaces
 * another calls it again, or the old program's callback would live on. Returns 0 or an error. */
static __always_inline int arm_sweep(void)
{
	__u32 zero = 0;
	struct sweep *s = bpf_map_lookup_elem(&sweep, &zero);
	long failed;

	if (!s)
		return -1;
	bpf_timer_init(&s->timer, &sweep, CLOCK_MONOTONIC); /* busy: initialised by an earlier program */
	bpf_timer_cancel(&s->timer);
	s->lines = flow_line_mask / SWEEP_TICKS_PER_PASS + 1;
	failed = bpf_timer_set_callback(&s->timer, sweep_tick);
	if (!failed)
		failed = bpf_timer_start(&s->timer, SWEEP_NS, 0);
	return (int)failed;
}

#endif
