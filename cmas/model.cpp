// SPDX-License-Identifier: Apache-2.0
#include "cmas/model.h"

namespace catsbpf::cmas {

const char *name(RowState state) {
  switch (state) {
    case RowState::kActive: return "active";
    case RowState::kDraining: return "draining";
    case RowState::kFrozen: return "frozen";
    case RowState::kSilent: return "silent";
    case RowState::kUnreachable: return "unreachable";
    case RowState::kDead: return "dead";
  }
  return "unknown";
}

}  // namespace catsbpf::cmas
