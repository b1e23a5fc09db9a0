// SPDX-License-Identifier: Apache-2.0
// tests/conformance.md says the truth about itself: every requirement once, no test that does not exist.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <memory>
#include <regex>
#include <set>
#include <sstream>

namespace {

namespace fs = std::filesystem;

fs::path tests() { return fs::path(__FILE__).parent_path().parent_path(); }

std::string read(const fs::path &file) {
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

struct Row {
  std::string number, what, does, shown, missing;
};

std::vector<Row> rows() {
  std::vector<Row> out;
  std::istringstream lines(read(tests() / "conformance.md"));
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("| R")) continue;
    std::vector<std::string> cells;
    std::istringstream rest(line.substr(1, line.rfind('|') - 1));
    for (std::string cell; std::getline(rest, cell, '|');) {
      cell.erase(0, cell.find_first_not_of(' '));
      cell.erase(cell.find_last_not_of(' ') + 1);
      cells.push_back(cell);
    }
    cells.resize(5);
    out.push_back({cells[0], cells[1], cells[2], cells[3], cells[4]});
  }
  return out;
}

// "Suite.name" of the unit and prog tests.
void add_unit_and_prog(std::set<std::string> &names) {
  const std::regex pattern(R"(TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\s*\))");
  for (const char *folder : {"unit", "prog"})
    for (const auto &file : fs::directory_iterator(tests() / folder)) {
      if (file.path().extension() != ".cpp") continue;
      const std::string text = read(file.path());
      for (auto match = std::sregex_iterator(text.begin(), text.end(), pattern); match != std::sregex_iterator();
           ++match)
        names.insert(match->str(1) + "." + match->str(2));
    }
}

// "name" of the e2e tests, some of which are made while their module loads: so it is asked.
void add_e2e(std::set<std::string> &names) {
  const std::string command = "/usr/bin/python3 -B '" + (tests() / "e2e").string() + "' --list";
  const std::unique_ptr<FILE, int (*)(FILE *)> list(popen(command.c_str(), "r"), pclose);
  ASSERT_NE(list, nullptr);
  char line[512], name[512];
  while (std::fgets(line, sizeof line, list.get()))
    if (std::sscanf(line, "%*[^:]: %511s", name) == 1) names.insert(name);
}

TEST(Conformance, has_every_requirement_once_and_in_order) {
  const auto all = rows();
  ASSERT_EQ(all.size(), 191u);
  for (std::size_t r = 0; r < all.size(); ++r) {
    std::ostringstream number;
    number << "R" << std::setw(3) << std::setfill('0') << r + 1;
    EXPECT_EQ(all[r].number, number.str());
  }
}

TEST(Conformance, names_only_tests_that_exist) {
  std::set<std::string> known;
  add_unit_and_prog(known);
  add_e2e(known);
  ASSERT_TRUE(known.contains("Conformance.names_only_tests_that_exist"));
  ASSERT_TRUE(known.contains("new_flows_use_both_sites")) << "tests/e2e --list needs python3-yaml";
  const std::regex quoted("`([^`]+)`");
  for (const auto &row : rows())
    for (auto match = std::sregex_iterator(row.shown.begin(), row.shown.end(), quoted); match != std::sregex_iterator();
         ++match)
      EXPECT_TRUE(known.contains(match->str(1))) << row.number << ": " << match->str(1);
}

TEST(Conformance, row_without_a_test_says_so) {
  for (const auto &row : rows()) {
    EXPECT_FALSE(row.what.empty()) << row.number;
    EXPECT_TRUE(row.shown.find('`') != std::string::npos || row.shown == "none") << row.number;
    // Nothing built: then what is missing is all of it.
    if (row.does.empty()) {
      EXPECT_EQ(row.shown, "none") << row.number;
      EXPECT_NE(row.missing.find("later"), std::string::npos) << row.number;
    }
  }
}

}  // namespace
