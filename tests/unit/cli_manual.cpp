// SPDX-License-Identifier: Apache-2.0
// The manual pages of the command and of the agent: what stands there unfilled fits a terminal of 80 columns.
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "cli/format.h"

namespace catsbpf::cli {
namespace {

std::string as_read(std::string line) {
  if (line.starts_with(".B \"") && line.ends_with('"')) line = line.substr(4, line.size() - 5);
  for (const auto &[escape, character] : {std::pair{"\\-", "-"}, {"\\(aq", "'"}, {"\\e", "\\"}})
    for (auto at = line.find(escape); at != std::string::npos; at = line.find(escape, at + 1))
      line.replace(at, std::string_view(escape).size(), character);
  return line;
}

TEST(CliManual, examples_fit_in_80_columns) {
  const std::string here = __FILE__;
  for (const auto *page : {"/cli/catsbpf.8", "/agent/catsbpfd.8"}) {
    std::ifstream file(here.substr(0, here.rfind("/tests/")) + page);
    std::string line;
    std::size_t indent = 7, lines = 0;
    for (bool unfilled = false; std::getline(file, line);) {
      if (line == ".nf" || line == ".fi") unfilled = line == ".nf";
      if (line == ".in 0" || line == ".in") indent = line == ".in" ? 7 : 0;
      if (!unfilled || (line.starts_with('.') && !line.starts_with(".B "))) continue;
      ++lines;
      EXPECT_LE(indent + width(as_read(line)), 80U) << page << ": " << line;
    }
    EXPECT_GT(lines, 0U) << page;
  }
}

}  // namespace
}  // namespace catsbpf::cli
