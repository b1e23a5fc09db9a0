// SPDX-License-Identifier: Apache-2.0
#include "agent/dataplane/grace.h"

#include <bpf/bpf.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace catsbpf::agent {

Result<> Grace::wait() {
  // MEMBARRIER_CMD_GLOBAL waits for RCU where there is more than one CPU and no nohz_full; else it returns
  // at once or fails.
  if (membarrier_ && sysconf(_SC_NPROCESSORS_ONLN) > 1 && syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0)
    return done();
  return wait_by_map();
}

// An update of a map of maps waits for RCU before it returns.
Result<> Grace::wait_by_map() {
  if (!inner_.valid()) inner_ = Fd(bpf_map_create(BPF_MAP_TYPE_ARRAY, "grace_inner", 4, 4, 1, nullptr));
  if (!inner_.valid()) return system_error("cannot make a map to wait for a grace period", errno);
  LIBBPF_OPTS(bpf_map_create_opts, options, .inner_map_fd = static_cast<uint32_t>(inner_.get()));
  if (!outer_.valid()) outer_ = Fd(bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "grace_outer", 4, 4, 1, &options));
  if (!outer_.valid()) return system_error("cannot make a map to wait for a grace period", errno);
  const uint32_t index = 0, inner = static_cast<uint32_t>(inner_.get());
  if (bpf_map_update_elem(outer_.get(), &index, &inner, BPF_ANY) != 0)
    return system_error("cannot wait for a grace period", errno);
  return done();
}

}  // namespace catsbpf::agent
