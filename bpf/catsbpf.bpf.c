/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The data plane of catsbpf: table of contents. */
#include "tables.h"

SEC("xdp")
int catsbpf_xdp(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

SEC("tc")
int catsbpf_slow(struct __sk_buff *skb)
{
	(void)skb;
	return 0;
}

SEC("syscall")
int sweep_start(void *context)
{
	(void)context;
	return 0;
}

SEC("syscall")
int read_jiffies(struct clock_reading *reading)
{
	reading->jiffies = bpf_jiffies64();
	reading->monotonic_ns = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/xdp_redirect_err")
int redirect_err(__u64 *arguments)
{
	(void)arguments;
	return 0;
}

SEC("tp_btf/xdp_devmap_xmit")
int devmap_xmit(__u64 *arguments)
{
	(void)arguments;
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
