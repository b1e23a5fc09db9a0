// SPDX-License-Identifier: Apache-2.0
// Grace periods: waits until every program that ran at the time of the call has ended.
#pragma once

#include "util/fd.h"
#include "util/result.h"

namespace catsbpf::agent {

class Grace {
 public:
  // `membarrier` false: as on a kernel that refuses it.
  explicit Grace(bool membarrier = true) : membarrier_(membarrier) {}
  // Blocks some milliseconds. From one thread at a time.
  Result<> wait();

 private:
  Result<> wait_by_map();
  const bool membarrier_;
  Fd outer_, inner_;
};

}  // namespace catsbpf::agent
