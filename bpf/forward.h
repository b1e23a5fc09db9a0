/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* forward: an encapsulated frame in; out by the path's interface. Where the next hop is not resolved
 * the frame passes with a mark in its XDP metadata, and the tc program lets the kernel find the
 * neighbour (slow.h). `forwarded` means handed over: what the kernel refuses or drops after that,
 * errors.h counts. */
#ifndef CATSBPF_BPF_FORWARD_H
#define CATSBPF_BPF_FORWARD_H

#include "outcome.h"

/* Not from <sys/socket.h>: it does not compile for BPF. */
#define AF_INET  2
#define AF_INET6 10

static __always_inline int mark_slow(struct xdp_md *context, const struct slow_mark *mark)
{
	struct slow_mark *meta;

	if (bpf_xdp_adjust_meta(context, -(int)sizeof(*mark)))
		return 0;
	meta = (void *)(long)context->data_meta;
	if ((void *)(meta + 1) > (void *)(long)context->data)
		return 0;
	*meta = *mark;
	return 1;
}

static __always_inline enum outcome forward(struct packet *p)
{
	count(&instance_counters, p->slot, 1, p->bytes);
	if (unlikely(p->path->state != PATH_RESOLVED)) {
		struct slow_mark mark = {
			.magic = SLOW_MAGIC,
			.ifindex = p->path->ifindex,
			.next_hop4 = p->path->next_hop4,
			.family = AF_INET,
		};

		return mark_slow(p->context, &mark) ? OUTCOME_forwarded_slow : OUTCOME_slow_impossible;
	}
	bpf_redirect(p->path->ifindex, 0);
	return p->midflow ? OUTCOME_forwarded_midflow : OUTCOME_forwarded;
}

#endif
