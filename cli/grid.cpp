// SPDX-License-Identifier: Apache-2.0
#include "cli/grid.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

namespace catsbpf::cli {

namespace {

std::string text_of(const Cell &cell) {
  const auto *number = std::get_if<uint64_t>(&cell);
  return number ? std::to_string(*number) : std::get<std::string>(cell);
}

bool is_number(const Grid &grid, std::size_t column) {
  return !grid.rows.empty() && std::holds_alternative<uint64_t>(grid.rows.front()[column]);
}

}  // namespace

std::string render(const Grid &grid, const Layout &layout) {
  std::vector<Column> columns;
  for (std::size_t i = 0; i < grid.columns.size(); ++i) {
    std::string title = grid.columns[i].name;
    std::transform(title.begin(), title.end(), title.begin(), [](unsigned char c) { return std::toupper(c); });
    std::replace(title.begin(), title.end(), '_', ' ');
    columns.push_back({title, is_number(grid, i) ? Align::right : Align::left, grid.columns[i].shorten});
  }
  Table table(columns);
  for (const auto &row : grid.rows) {
    std::vector<std::string> cells;
    for (const auto &cell : row) cells.push_back(text_of(cell));
    table.row(std::move(cells));
  }
  const auto total = std::to_string(grid.total) + " " + grid.what + "\n";
  if (grid.rows.empty()) return total;
  return table.render(layout) +
         (grid.rows.size() < grid.total ? std::to_string(grid.rows.size()) + " of " + total : total);
}

std::string json(const Grid &grid) {
  auto list = nlohmann::ordered_json::array();
  for (const auto &row : grid.rows) {
    nlohmann::ordered_json object;
    for (std::size_t i = 0; i < row.size(); ++i)
      std::visit([&](const auto &value) { object[grid.columns[i].name] = value; }, row[i]);
    list.push_back(std::move(object));
  }
  nlohmann::ordered_json value;
  value[grid.name] = list;
  value["total"] = grid.total;
  return value.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace catsbpf::cli
