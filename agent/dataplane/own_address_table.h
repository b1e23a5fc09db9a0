// SPDX-License-Identifier: Apache-2.0
// Contents of the map `own_addresses`. In: this host's addresses and the broadcast addresses of its networks. Out: the
// table has them, and no others, while packets look at it.
#pragma once

#include <span>
#include <vector>

#include "maps/contract.h"
#include "util/result.h"

namespace catsbpf::agent {

// `table` has MAX_OWN_ADDRESSES entries. Fails when some found no place; all others are in the table then.
Result<> put_own_addresses(std::span<maps::address> table, std::vector<maps::address> own);

}  // namespace catsbpf::agent
