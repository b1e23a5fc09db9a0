// SPDX-License-Identifier: Apache-2.0
/* A program that runs for some tens of milliseconds and counts its beginnings and ends. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} turns SEC(".maps");

static long step(__u32 i, void *context)
{
	(void)i;
	(void)context;
	bpf_ktime_get_ns();
	return 0;
}

SEC("xdp")
int long_run(struct xdp_md *context)
{
	__u32 zero = 0, *value = bpf_map_lookup_elem(&turns, &zero);

	(void)context;
	if (!value)
		return XDP_ABORTED;
	*(volatile __u32 *)value += 1;
	bpf_loop(1 << 21, step, (void *)0, 0);
	*(volatile __u32 *)value += 1;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
