/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* select: a new flow in, an instance slot out: the client's session if it has one, else the ring of
 * the view. Runs for new flows and for flows whose instance is dead only. */
#ifndef CATSBPF_BPF_SELECT_H
#define CATSBPF_BPF_SELECT_H

#include "packet.h"

/* A ring may name an instance that died since it was published: then the next hash of the flow asks
 * again. */
#define SELECT_TRIES 8

/* An instance that serves its flows, whether a path leads to it or not. The CS-ID is compared because a
 * service's handle may have been another service's when the flow began. */
static __always_inline int serves(__u32 slot, __u32 cs_id)
{
	const struct instance *instance = &instances[slot & (MAX_INSTANCES - 1)];

	return slot && instance->cs_id == cs_id &&
	       (instance->state == INSTANCE_ACTIVE || instance->state == INSTANCE_DRAINING);
}

/* An instance that packets can be sent to. */
static __always_inline int is_alive(__u32 slot, __u32 cs_id)
{
	const struct path *path = path_of(&instances[slot & (MAX_INSTANCES - 1)]);

	if (!serves(slot, cs_id))
		return 0;
	return path->state == PATH_RESOLVED || path->state == PATH_UNRESOLVED;
}

static __always_inline __u32 select_by_session(struct address client, __u32 cs_id, __u64 now)
{
	struct session_key key = {.client = client, .cs_id = cs_id};
	struct session *session = bpf_map_lookup_elem(&sessions, &key);

	if (!session || (__s64)(session->expires - now) <= 0 || !is_alive(session->slot, cs_id))
		return 0;
	return session->slot;
}

static __always_inline __u32 select_by_ring(const struct service_record *service, __u64 hash)
{
	__u32 point = hash >> 32;

	if (!service->ring_slots)
		return 0; /* ring_first means nothing then */
#pragma clang loop unroll(disable)
	for (int i = 0; i < SELECT_TRIES; i++, point += 0x9e3779b9u) {
		__u32 index = ((__u64)point * service->ring_slots) >> 32;
		__u32 key = service->ring_first + index / RING_LINE_SLOTS;
		struct ring_line *line = bpf_map_lookup_elem(&rings, &key);
		__u32 slot;

		if (!line)
			return 0;
		slot = line->slot[index % RING_LINE_SLOTS];
		if (is_alive(slot, service->cs_id))
			return slot;
	}
	return 0;
}

#endif
