// SPDX-License-Identifier: Apache-2.0
// The entries in use of one pinned map, decoded by the layouts of maps/contract.h.
#pragma once

#include "cli/grid.h"
#include "maps/tables.h"
#include "util/result.h"

namespace catsbpf::cli {

Grid decode_maps(const std::vector<maps::Tables::MapInfo> &maps);
// At most `limit` rows (0: all). Fails on a name that is no map of ours, naming those that are.
Result<Grid> decode_map(const maps::Tables &tables, const std::string &name, std::size_t limit);

// The names of the maps that decode_map takes.
std::vector<std::string> decodable_maps();

}  // namespace catsbpf::cli
