// SPDX-License-Identifier: Apache-2.0
// Text for people: tables that fit the page, and "name  value" lists. In: cells. Out: lines of at most
// Layout::width columns; a table that is too wide first narrows its gaps, then shortens the columns that
// allow it, widest first.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace catsbpf::cli {

struct Layout {
  std::size_t width = 100;
  bool colour = false;
};

enum class Align { left, right };
// Where a cell that is too long loses characters: nowhere, at its end ("text.."), or in its middle
// ("fd00:1..:443", for addresses, whose both ends tell).
enum class Shorten { never, end, middle };

struct Column {
  std::string title;
  Align align = Align::left;
  Shorten shorten = Shorten::never;
  std::size_t least = 8;  // columns that shortening leaves
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // As many cells as columns. `alarm` rows are red on a terminal.
  void row(std::vector<std::string> cells, bool alarm = false);
  // A sentence that belongs to the last row: indented, wrapped.
  void note(std::string text);

  std::string render(const Layout &layout) const;

 private:
  struct Line {
    std::vector<std::string> cells;
    bool alarm = false;
    std::string note;
  };
  std::vector<std::size_t> widths(std::size_t &gap, std::size_t limit) const;

  std::vector<Column> columns_;
  std::vector<Line> lines_;
};

// `text` in lines of at most `width` columns, each after `indent` spaces; breaks at spaces.
std::string wrap(std::string_view text, std::size_t width, std::size_t indent);

// "name            value" lines; a long value goes on under its beginning.
class Facts {
 public:
  void add(std::string name, std::string value) { facts_.push_back({std::move(name), std::move(value)}); }
  std::string render(const Layout &layout) const;

 private:
  struct Fact {
    std::string name, value;
  };
  std::vector<Fact> facts_;
};

}  // namespace catsbpf::cli
