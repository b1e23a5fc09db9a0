// SPDX-License-Identifier: Apache-2.0
#include "agent/config/problems.h"

#include <algorithm>

namespace catsbpf::agent {

void Problems::add(int line, std::string field, std::string reason, std::string hint) {
  problems_.push_back({line, std::move(field), std::move(reason), std::move(hint)});
}

void Problems::at(const std::string &field, std::string reason, std::string hint) {
  std::string known = field;
  while (!known.empty() && !lines_.contains(known)) {
    const std::size_t dot = known.find_last_of(".[");
    known.resize(dot == std::string::npos ? 0 : dot);
  }
  add(known.empty() ? 1 : lines_.at(known), field, std::move(reason), std::move(hint));
}

std::string Problems::text(const std::string &file) const {
  auto sorted = problems_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Problem &a, const Problem &b) { return a.line < b.line; });
  std::string all;
  for (const auto &p : sorted) {
    all += (all.empty() ? "" : "\n") + file + ":" + std::to_string(p.line) + ": ";
    all += (p.field.empty() ? "" : p.field + ": ") + p.reason;
    if (!p.hint.empty()) all += "\nhint: " + p.hint;
  }
  return all;
}

}  // namespace catsbpf::agent
