// SPDX-License-Identifier: Apache-2.0
// Private to decode*.cpp: one decoder per pinned map, and where they put their rows.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cli/grid.h"
#include "maps/tables.h"
#include "util/result.h"

namespace catsbpf::cli::decoders {

using maps::Tables;
using Cells = std::vector<Cell>;

// Collects the rows of one map up to the limit and counts the others.
struct Rows {
  Grid grid;
  std::size_t limit;
  void add(Cells row) {
    ++grid.total;
    if (limit == 0 || grid.rows.size() < limit) grid.rows.push_back(std::move(row));
  }
};

// The rows of a table of structs; `row` decides what is in use and returns its cells, or nothing.
template <class T, class Row>
void add_rows(Rows &rows, std::span<const T> entries, Row &&row) {
  for (std::size_t i = 0; i < entries.size(); ++i)
    if (auto cells = row(i, entries[i]); !cells.empty()) rows.add(std::move(cells));
}

std::string hex(const void *bytes, std::size_t count);
std::string hex_word(uint64_t word);

Result<> control(const Tables &tables, Rows &rows);
Result<> interfaces(const Tables &tables, Rows &rows);
Result<> own_addresses(const Tables &tables, Rows &rows);
Result<> view_headers(const Tables &tables, Rows &rows);
Result<> locators(const Tables &tables, Rows &rows);
Result<> services(const Tables &tables, Rows &rows);
Result<> rings(const Tables &tables, Rows &rows);
Result<> instances(const Tables &tables, Rows &rows);
Result<> paths(const Tables &tables, Rows &rows);
Result<> deliveries(const Tables &tables, Rows &rows);
Result<> sessions(const Tables &tables, Rows &rows);
Result<> flows(const Tables &tables, Rows &rows);
Result<> flow_records(const Tables &tables, Rows &rows);
Result<> sweep(const Tables &tables, Rows &rows);
Result<> outcomes(const Tables &tables, Rows &rows);
Result<> flow_counters(const Tables &tables, Rows &rows);
Result<> instance_counters(const Tables &tables, Rows &rows);
Result<> delivery_counters(const Tables &tables, Rows &rows);
Result<> icmp_budget(const Tables &tables, Rows &rows);

}  // namespace catsbpf::cli::decoders
