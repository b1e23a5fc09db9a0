/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Feeds an XDP program with prepared packets. BPF_PROG_TEST_RUN repeats on the same buffer and restores
 * nothing, so a program that encapsulates would be handed its own output. Each call of `replay` gives
 * the frame its first length back, writes the next prepared head over it and tail-calls the program
 * under test; `noop` in its place measures the harness alone. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define HEAD_WORDS 16

struct head {
	__u64 word[HEAD_WORDS];
};

struct replay_state {
	__u32 heads;  /* in use */
	__u32 next;
	__u32 length; /* of the whole frame */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1 << 20);
	__type(key, __u32);
	__type(value, struct head);
} heads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct replay_state);
} state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} under_test SEC(".maps");

SEC("xdp")
int noop(struct xdp_md *context)
{
	(void)context;
	return XDP_PASS;
}

SEC("xdp")
int replay(struct xdp_md *context)
{
	__u32 zero = 0, current;
	struct replay_state *s = bpf_map_lookup_elem(&state, &zero);
	struct head *head;
	void *data, *end;
	long grown;

	if (!s)
		return XDP_ABORTED;
	current = s->next;
	s->next = current + 1 < s->heads ? current + 1 : 0;
	grown = (long)context->data_end - (long)context->data - (long)s->length;
	if (grown && bpf_xdp_adjust_head(context, (int)grown))
		return XDP_ABORTED;
	head = bpf_map_lookup_elem(&heads, &current);
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	if (!head || data + sizeof(*head) > end)
		return XDP_ABORTED;
#pragma clang loop unroll(full)
	for (int i = 0; i < HEAD_WORDS; i++)
		((__u64 *)data)[i] = head->word[i];
	bpf_tail_call(context, &under_test, 0);
	return XDP_ABORTED;
}

char _license[] SEC("license") = "Dual BSD/GPL";
