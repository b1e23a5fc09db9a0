// SPDX-License-Identifier: Apache-2.0
// tests/conformance.md says the truth about itself: every requirement once, no test that does not exist.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iomanip>
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

// "Suite.name" of unit and prog tests, "name" of e2e tests.
std::set<std::string> existing() {
  std::set<std::string> names;
  const auto collect = [&](const fs::path &folder, const std::string &extension, const std::regex &pattern) {
    if (!fs::is_directory(folder)) return;
    for (const auto &file : fs::recursive_directory_iterator(folder)) {
      if (file.path().extension() != extension) continue;
      const std::string text = read(file.path());
      for (auto match = std::sregex_iterator(text.begin(), text.end(), pattern); match != std::sregex_iterator();
           ++match)
        names.insert(match->size() == 3 ? match->str(1) + "." + match->str(2) : match->str(1));
    }
  };
  const std::regex unit(R"(TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\s*\))");
  collect(tests() / "unit", ".cpp", unit);
  collect(tests() / "prog", ".cpp", unit);
  collect(tests() / "e2e", ".py", std::regex(R"(\ndef (\w+)\(e2e\))"));
  return names;
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
  const auto known = existing();
  ASSERT_GT(known.size(), 100u);
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
