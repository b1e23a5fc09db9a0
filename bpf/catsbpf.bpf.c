/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The data plane of catsbpf: table of contents. One header per stage, in the packet's order:
 *
 *   ingress   parse -> classify -> affinity (-> place -> select) -> encap (-> icmp) -> forward
 *   egress    parse -> classify -> decap -> deliver
 *   both      outcome: the one exit; slow: the tc way of frames whose neighbour is not resolved
 *
 * A stage returns OUTCOME_next to go on; any other outcome ends the packet's way. */
#include "affinity.h"
#include "classify.h"
#include "deliver.h"
#include "encap.h"
#include "errors.h"
#include "forward.h"
#include "outcome.h"
#include "slow.h"
#include "sweep.h"

static __always_inline enum outcome to_instance(struct packet *p)
{
	enum outcome outcome = affinity(p);

	if (!outcome)
		outcome = encap(p);
	return outcome ? outcome : forward(p);
}

static __always_inline enum outcome from_tunnel(struct packet *p)
{
	struct tunnel tunnel = {};
	enum outcome outcome = decap(p, &tunnel);

	return outcome ? outcome : deliver(p, &tunnel);
}

/* Inlined once per family: in each, the family and what follows from it are constants. */
static __always_inline enum outcome walk_ip(struct packet *p, enum outcome parsed)
{
	enum outcome outcome = parsed ? parsed : classify(p);

	if (outcome)
		return outcome;
	if (likely(p->locator_kind == LOCATOR_SERVICE))
		return to_instance(p);
	return p->family == FAMILY_IPV4 ? from_tunnel(p) : OUTCOME_not_ours;
}

static __always_inline enum outcome walk(struct packet *p)
{
	enum outcome outcome = classify_interface(p);
	void *network;
	__be16 type;

	if (outcome)
		return outcome;
	p->view = READ_ONCE(control.view) & 1; /* once: a packet sees one view, whole */
	network = parse_ethernet(p, &type);
	if (!network)
		return OUTCOME_malformed;
	if (type == bpf_htons(ETH_P_IP))
		return walk_ip(p, parse_ipv4(p, network));
	if (type == bpf_htons(ETH_P_IPV6))
		return walk_ip(p, parse_ipv6(p, network));
	return OUTCOME_not_ip;
}

SEC("xdp")
int catsbpf_xdp(struct xdp_md *context)
{
	struct packet p = {.context = context, .bytes = context->data_end - context->data};
	enum outcome outcome = walk(&p);

	return finish(&p, outcome);
}

/* clsact ingress of every interface of ours. */
SEC("tc")
int catsbpf_slow(struct __sk_buff *skb)
{
	return send_slow(skb);
}

SEC("syscall")
int sweep_start(void *context)
{
	(void)context;
	return arm_sweep();
}

SEC("syscall")
int read_jiffies(struct clock_reading *reading)
{
	reading->jiffies = bpf_jiffies64();
	reading->monotonic_ns = bpf_ktime_get_ns();
	return 0;
}

/* (const struct net_device *dev, const struct bpf_prog *xdp, ...) */
SEC("tp_btf/xdp_redirect_err")
int redirect_err(__u64 *arguments)
{
	struct net_device *device = (void *)arguments[0];
	struct bpf_prog *program = (void *)arguments[1];

	if (is_our_interface(device) && is_our_program(program))
		count(&outcomes, OUTCOME_redirect_failed, 1, 0);
	return 0;
}

/* (const struct net_device *from_dev, const struct net_device *to_dev, int sent, int drops, int err) */
SEC("tp_btf/xdp_devmap_xmit")
int devmap_xmit(__u64 *arguments)
{
	struct net_device *from = (void *)arguments[0];
	int drops = (int)arguments[3];

	if (drops > 0 && is_our_interface(from))
		count(&outcomes, OUTCOME_redirect_dropped, drops, 0);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
