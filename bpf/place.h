/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* place: gives a flow its entry in the flow table and its instance. A flow has two candidate lines;
 * a new one goes into the emptier; where both are full an expired entry makes room, else the
 * youngest that is not protected (older than 10 s with at least 8 packets).
 *
 * Several CPUs may place the same flow at once. Every step is a compare-and-swap of the entry's
 * word, and an entry is tentative until its maker has looked through both lines again: of two
 * tentative entries the lower stays, one that is no longer tentative always stays. Only the owner
 * of a successful swap acts on it. The record beside an entry belongs to it while both have the
 * same word; an entry whose record is not written yet is neither displaced nor swept.
 *
 * The steps are global subprograms: each is verified once, by itself; joined they would be millions
 * of states. */
#ifndef CATSBPF_BPF_PLACE_H
#define CATSBPF_BPF_PLACE_H

#include "select.h"

#define CANDIDATES         (2 * FLOW_LINE_ENTRIES)
#define NO_CANDIDATE       0xf
#define TENTATIVE          (FLOW_STATE_TENTATIVE << FLOW_STATE_SHIFT)
#define PLACE_TRIES        3
#define PROTECTED_SECONDS  10
#define PROTECTED_PACKETS  8
#define PLACED_NEW         (1 << 16) /* with the slot: the flow was not in the table */

struct place_request {
	__u64 hash;
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u16 service;
	__u8 view;
	__u8 protocol;
	__u8 syn;
	__u8 bypass;
	__u8 pad[6];
	__u64 victim;        /* set by find_victim() */
};

static __always_inline const struct service_record *service_of(const struct place_request *r)
{
	return &services[r->view & 1][r->service % MAX_SERVICES];
}

static __always_inline __u32 first_line(__u64 hash)
{
	return (__u32)hash & flow_line_mask;
}

static __always_inline __u32 second_line(__u64 hash)
{
	/* The bits above the first line's are the tag's: mixed with the first line they tell apart flows
	 * whose tags are equal. */
	__u32 line = (__u32)(hash ^ hash >> FLOW_TAG_SHIFT) & flow_line_mask;

	return line == first_line(hash) ? line ^ 1 : line;
}

static __always_inline struct flow_entry *candidate_entry(__u64 hash, __u32 candidate)
{
	__u32 key = candidate & FLOW_LINE_ENTRIES ? second_line(hash) : first_line(hash);
	struct flow_line *line = bpf_map_lookup_elem(&flows, &key);

	return line ? &line->entry[candidate % FLOW_LINE_ENTRIES] : NULL;
}

static __always_inline struct flow_record *candidate_record(__u64 hash, __u32 candidate)
{
	__u32 line = candidate & FLOW_LINE_ENTRIES ? second_line(hash) : first_line(hash);
	__u32 key = line * FLOW_LINE_ENTRIES + candidate % FLOW_LINE_ENTRIES;

	return bpf_map_lookup_elem(&flow_records, &key);
}

static __always_inline int same_flow(__u64 word, __u64 hash)
{
	return !((word ^ hash) >> FLOW_TAG_SHIFT);
}

static __always_inline __u32 bits_set(__u32 four)
{
	return (four & 1) + (four >> 1 & 1) + (four >> 2 & 1) + (four >> 3 & 1);
}

static __always_inline int swap(struct flow_entry *entry, __u64 from, __u64 to)
{
	return __sync_val_compare_and_swap(&entry->word, from, to) == from;
}

static __always_inline struct flow_counters *counters_of_flows(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&flow_counters, &zero);
}

/* A slot for the flow: session, then ring; with the state bits of its word. 0: none. */
__noinline int select_slot(struct place_request *r)
{
	const struct service_record *service;
	__u32 slot;

	if (!r)
		return 0;
	service = service_of(r);
	slot = select_by_session(r->source, service->cs_id, bpf_jiffies64());
	if (slot)
		return (int)(FLOW_STATE_SESSION << FLOW_STATE_SHIFT | slot);
	return (int)select_by_ring(service, r->hash);
}

static __always_inline __u64 next_generation(__u64 word)
{
	return ((word >> FLOW_GENERATION_SHIFT) + 1 & FLOW_GENERATION_MASK) << FLOW_GENERATION_SHIFT;
}

/* The record's word is what makes the record valid, so it is written last; a flow that another CPU
 * moved to another slot meanwhile keeps this record. */
static __always_inline void validate_record(struct flow_record *record, struct flow_entry *entry, __u64 word)
{
	__u64 current;

	__sync_lock_test_and_set(&record->word, word);
	current = READ_ONCE(entry->word);
	if (current != word && same_flow(current, word))
		__sync_lock_test_and_set(&record->word, current);
}

/* When may the entry of this record make room? Smaller is better, 0 means expired; negative: never. */
static __always_inline __s64 displacement_cost(const struct flow_entry *entry, const struct flow_record *record,
					       __u64 word, __u32 now, __u32 hz)
{
	__u64 seen = READ_ONCE(entry->seen);
	__u32 age;

	if (READ_ONCE(record->word) != word)
		return -1;
	age = now - record->created;
	if (now - (__u32)(seen >> 32) > record->timeout && (__s32)(now - (__u32)(seen >> 32)) > 0)
		return 0;
	if (age >= PROTECTED_SECONDS * hz && flow_packets(seen, record->packets) >= PROTECTED_PACKETS)
		return -1;
	return 1 + (__s64)age;
}

/* Both lines are full: the candidate that makes room, its word in r->victim; | VICTIM_EXPIRED.
 * NO_CANDIDATE: all are protected; | VICTIM_SAME: another CPU has just entered this very flow. */
#define VICTIM_EXPIRED 0x10
#define VICTIM_SAME    0x20
__noinline int find_victim(struct place_request *r, __u32 now)
{
	__u32 best = NO_CANDIDATE;
	__s64 best_cost = 1LL << 40;

	if (!r)
		return NO_CANDIDATE;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < CANDIDATES; i++) {
		struct flow_entry *entry = candidate_entry(r->hash, i);
		struct flow_record *record = candidate_record(r->hash, i);
		__s64 cost;
		__u64 word;

		if (!entry || !record)
			return NO_CANDIDATE;
		word = READ_ONCE(entry->word);
		if (same_flow(word, r->hash))
			return NO_CANDIDATE | VICTIM_SAME;
		if (!word || word & TENTATIVE)
			continue;
		cost = displacement_cost(entry, record, word, now, control.hz);
		if (cost >= 0 && cost < best_cost) {
			best_cost = cost;
			best = i;
			r->victim = word;
		}
	}
	return (int)(best_cost ? best : best | VICTIM_EXPIRED);
}

/* 1 for what is not 0, without a branch: two ways for each of eight entries would be 256 for the verifier. */
static __always_inline __u32 one_if_used(__u64 word)
{
	word |= -word;
	asm("" : "+r"(word));
	return word >> 63;
}

/* One look through both lines: the candidate that holds this flow, and a free one of the emptier
 * line << 4; NO_CANDIDATE where there is none. */
__noinline int survey_lines(__u64 hash)
{
	__u32 used = 0, same = NO_CANDIDATE, line, free;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < CANDIDATES; i++) {
		struct flow_entry *entry = candidate_entry(hash, i);
		__u64 word;

		if (!entry)
			return NO_CANDIDATE << 4 | NO_CANDIDATE;
		word = READ_ONCE(entry->word);
		if (same_flow(word, hash))
			same = i;
		used |= one_if_used(word) << i;
	}
	if (used == 0xff)
		return (int)(NO_CANDIDATE << 4 | same);
	line = bits_set(used >> 4) < bits_set(used & 0xf) ? 4 : 0;
	used = ~(used >> line);
	free = line + (used & 1 ? 0 : used & 2 ? 1 : used & 4 ? 2 : 3);
	return (int)(free << 4 | same);
}

/* Looks through both lines after our tentative entry `mine` (word `own`) went in. Returns the word
 * that the flow lives under: ours, made definite, or another CPU's | TENTATIVE (then ours is gone).
 * 0: ours was taken away; look again. */
__noinline __u64 settle(__u64 hash, __u32 mine, __u64 own)
{
	struct flow_entry *entry = candidate_entry(hash, mine), *other;
	__u64 definite = own & ~TENTATIVE;

	if (!entry)
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < CANDIDATES; i++) {
		__u64 word;

		other = candidate_entry(hash, i);
		if (!other)
			return 0;
		word = READ_ONCE(other->word);
		if (i == mine || !same_flow(word, hash))
			continue;
		if (word & TENTATIVE && i > mine) {
			if (swap(other, word, 0))
				continue; /* its maker will find ours */
			word = READ_ONCE(other->word);
			if (!same_flow(word, hash))
				continue;
		}
		swap(entry, own, 0);
		return word | TENTATIVE; /* never equal to ours, which may differ in nothing else */
	}
	return swap(entry, own, definite) ? definite : 0;
}

static __always_inline void write_record(const struct place_request *r, struct flow_record *record, __u32 timeout,
					 __u32 now)
{
	record->source = r->source;
	record->destination = r->destination;
	record->packets = 0;
	record->created = now;
	record->timeout = timeout;
	record->source_port = r->source_port;
	record->destination_port = r->destination_port;
	record->service = r->service;
	record->protocol = r->protocol;
}

/* One try to enter the flow with `state_and_slot`. `at`: a free candidate, or NO_CANDIDATE. Returns the
 * word that the flow lives under, 0: try again, NO_PLACE. */
#define NO_PLACE (~0ULL)
__noinline __u64 try_insert(struct place_request *r, __u32 at, __u32 state_and_slot, __u32 timeout)
{
	struct flow_counters *counters = counters_of_flows();
	__u64 now = bpf_jiffies64(), old = 0, own, lives;
	struct flow_record *record;
	struct flow_entry *entry;
	int expired = 0;

	if (!counters || !r)
		return NO_PLACE;
	if (at >= CANDIDATES) {
		at = find_victim(r, (__u32)now);
		if (at & VICTIM_SAME)
			return 0;
		expired = !!(at & VICTIM_EXPIRED);
		at &= 0xf;
		old = r->victim;
	}
	if (at >= CANDIDATES) {
		counters->refused++;
		return NO_PLACE;
	}
	entry = candidate_entry(r->hash, at);
	record = candidate_record(r->hash, at);
	if (!entry || !record)
		return NO_PLACE;
	own = (r->hash >> FLOW_TAG_SHIFT) << FLOW_TAG_SHIFT | next_generation(READ_ONCE(record->word)) |
	      FLOW_STATE_USED << FLOW_STATE_SHIFT | TENTATIVE | state_and_slot;
	if (!swap(entry, old, own))
		return 0;
	/* Before the entry is definite: the sweep must never see it with its predecessor's time. */
	WRITE_ONCE(entry->seen, now << 32 | 1);
	if (old) {
		counters->expired += expired;
		counters->displaced += !expired;
	}
	lives = settle(r->hash, at, own);
	if (lives != (own & ~TENTATIVE)) {
		counters->raced++;
		return lives;
	}
	write_record(r, record, timeout, (__u32)now);
	validate_record(record, entry, lives);
	counters->inserted++;
	return lives;
}

/* A flow waits for its path: by plain routing its packets might reach another instance, which would reset it. A new
 * connection does not wait, nor does what its site has ended. */
static __always_inline enum outcome without_instance(const struct place_request *r, __u32 slot, __u32 cs_id)
{
	if (r->bypass)
		return OUTCOME_bypassed;
	return slot != SLOT_PLAIN && serves(slot, cs_id) && !r->syn ? OUTCOME_path_down : OUTCOME_no_instance;
}

/* The flow has an entry: keeps its slot, or moves it where the slot is dead or it leaves the bypass. Returns the
 * slot, a negative outcome, or 0: the entry is the flow's no more (another CPU inserted it and lost), look again. */
__noinline int keep_or_move(struct place_request *r, __u32 candidate, __u32 cs_id)
{
	struct flow_counters *counters = counters_of_flows();
	struct flow_record *record;
	struct flow_entry *entry;
	__u64 word, chosen;
	__u32 slot;

	if (!r || !counters)
		return -OUTCOME_path_down;
	entry = candidate_entry(r->hash, candidate);
	record = candidate_record(r->hash, candidate);
	if (!entry || !record)
		return -OUTCOME_path_down;
	word = READ_ONCE(entry->word);
	slot = word & FLOW_SLOT_MASK;
	if (!same_flow(word, r->hash))
		return 0;
	if (slot == SLOT_PLAIN && (r->bypass || !r->syn))
		return -OUTCOME_bypassed;
	if (slot != SLOT_PLAIN && is_alive(slot, cs_id))
		return (int)slot;
	chosen = (__u32)select_slot(r);
	if (!chosen)
		return -without_instance(r, slot, cs_id);
	if (word & TENTATIVE)
		return (int)(chosen & FLOW_SLOT_MASK); /* moved when its maker has written the record: by the next packet */
	chosen |= (word >> FLOW_TAG_SHIFT) << FLOW_TAG_SHIFT | next_generation(word) |
		  FLOW_STATE_USED << FLOW_STATE_SHIFT;
	if (swap(entry, word, chosen)) {
		counters->moved += slot != SLOT_PLAIN;
		validate_record(record, entry, chosen);
		return (int)(chosen & FLOW_SLOT_MASK);
	}
	word = READ_ONCE(entry->word); /* another CPU moved it first */
	return same_flow(word, r->hash) ? (int)(word & FLOW_SLOT_MASK) : 0;
}

/* A new flow's slot, as place_flow() returns it. */
static __always_inline int placed_at(__u32 chosen)
{
	return chosen & FLOW_SLOT_MASK ? (int)((chosen & FLOW_SLOT_MASK) | PLACED_NEW) : -OUTCOME_bypassed;
}

/* As place_flow(); 0: another CPU was faster, try again. */
__noinline int try_place(struct place_request *r)
{
	const struct service_record *service;
	__u32 found, chosen = 0;
	__u64 lives;

	if (!r)
		return -OUTCOME_no_instance;
	service = service_of(r);
	found = survey_lines(r->hash);
	if ((found & 0xf) < CANDIDATES)
		return keep_or_move(r, found & 0xf, service->cs_id);
	if (!r->bypass) {
		chosen = select_slot(r);
		if (!chosen)
			return -OUTCOME_no_instance;
	}
	lives = try_insert(r, found >> 4 & 0xf, chosen, service->timeout);
	if (!lives)
		return 0;
	return placed_at(lives == NO_PLACE ? chosen : (__u32)lives);
}

/* Returns the slot (| PLACED_NEW), or a negative outcome. A flow over which CPUs race for longer than we try follows
 * the ring untracked. */
__noinline int place_flow(struct place_request *request)
{
	__u32 chosen;

	if (!request)
		return -OUTCOME_no_instance;
#pragma clang loop unroll(disable)
	for (int i = 0; i < PLACE_TRIES; i++) {
		int placed = try_place(request);

		if (placed)
			return placed;
	}
	if (request->bypass)
		return -OUTCOME_bypassed;
	chosen = select_slot(request);
	return chosen ? placed_at(chosen) : -OUTCOME_no_instance;
}

#endif
