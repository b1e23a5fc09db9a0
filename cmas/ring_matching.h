// SPDX-License-Identifier: Apache-2.0
// Which member holds which slot of a ring: the one matching in which no slot and no member with room would rather have
// each other than what they have. Private to cmas.
#pragma once

#include <cstdint>
#include <vector>

#include "cmas/ring.h"

namespace catsbpf::cmas {

// `members` in order of csci_id, their weights > 0 and the largest near 1; `shares`: slots that each should have.
// The result names a member by its index.
std::vector<uint16_t> match(const std::vector<RingMember> &members, const std::vector<uint32_t> &shares,
                            uint32_t slots);

}  // namespace catsbpf::cmas
