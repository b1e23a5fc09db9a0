// SPDX-License-Identifier: Apache-2.0
// Rows of named cells, for what has no message: the entries of a pinned map. In: numbers and texts. Out: the
// same as a table or as JSON objects, where numbers stay numbers.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "cli/table.h"

namespace catsbpf::cli {

using Cell = std::variant<uint64_t, std::string>;

struct GridColumn {
  std::string name;  // of the JSON member; in capitals the title
  Shorten shorten = Shorten::never;
};

struct Grid {
  std::string name;  // of the JSON array
  std::vector<GridColumn> columns;
  std::vector<std::vector<Cell>> rows{};
  uint64_t total = 0;           // of all rows; those here may be fewer (--limit)
  std::string what = "in use";  // as in "3 in use"
};
std::string render(const Grid &grid, const Layout &layout);
std::string json(const Grid &grid);

}  // namespace catsbpf::cli
