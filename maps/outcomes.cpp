// SPDX-License-Identifier: Apache-2.0
#include "maps/tables.h"

namespace catsbpf::maps {

namespace {
#define CATSBPF_OUTCOME_INFO(name, kind, sentence) OutcomeInfo{#name, #kind, sentence},
constexpr OutcomeInfo kOutcomes[] = {OUTCOMES(CATSBPF_OUTCOME_INFO)};
#undef CATSBPF_OUTCOME_INFO
static_assert(std::size(kOutcomes) == OUTCOME_COUNT);
}  // namespace

std::span<const OutcomeInfo> outcome_list() { return kOutcomes; }

}  // namespace catsbpf::maps
