/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* errors: what becomes of packets after they were redirected. To the XDP program a redirect to an
 * interface that is down or full looks like success; the kernel's tracepoints tell. They fire for
 * all XDP programs of the machine: only interfaces of ours, in our network namespace, are counted.
 * tp_btf with CO-RE: the few fields used are found by name in the running kernel. */
#ifndef CATSBPF_BPF_ERRORS_H
#define CATSBPF_BPF_ERRORS_H

#include "outcome.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ns_common {
	unsigned int inum;
};
struct net {
	struct ns_common ns;
};
typedef struct {
	struct net *net;
} possible_net_t;
struct net_device {
	int ifindex;
	possible_net_t nd_net;
};
struct bpf_prog_aux {
	char name[16];
};
struct bpf_prog {
	struct bpf_prog_aux *aux;
};
#pragma clang attribute pop

static __always_inline int is_our_interface(const struct net_device *device)
{
	__u32 ifindex = device->ifindex;

	if (!netns_inode || device->nd_net.net->ns.inum != netns_inode)
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < INTERFACE_PROBES; i++) {
		if (interfaces[(ifindex + i) % MAX_INTERFACES].ifindex == ifindex)
			return 1;
	}
	return 0;
}

static __always_inline int is_our_program(const struct bpf_prog *program)
{
	static const char ours[] = "catsbpf_xdp";
	char name[16] = {};

	bpf_probe_read_kernel(name, sizeof(name), program->aux->name);
#pragma clang loop unroll(full)
	for (int i = 0; i < (int)sizeof(ours); i++)
		if (name[i] != ours[i])
			return 0;
	return 1;
}

#endif
