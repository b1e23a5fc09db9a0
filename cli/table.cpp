// SPDX-License-Identifier: Apache-2.0
#include "cli/table.h"

#include <algorithm>
#include <numeric>

#include "cli/format.h"

namespace catsbpf::cli {

namespace {

constexpr std::string_view kRed = "\033[31m", kBold = "\033[1m", kPlain = "\033[0m";

// Byte offset of the code point number `column`.
std::size_t offset_of(std::string_view text, std::size_t column) {
  std::size_t offset = 0;
  for (; offset < text.size(); ++offset)
    if ((static_cast<unsigned char>(text[offset]) & 0xc0) != 0x80 && column-- == 0) break;
  return offset;
}

std::string shortened(const std::string &text, std::size_t limit, Shorten how) {
  const auto columns = width(text);
  if (columns <= limit) return text;
  const std::size_t keep = limit > 2 ? limit - 2 : 0;
  const std::size_t tail = how == Shorten::middle ? keep * 3 / 5 : 0;  // hosts and ports stand at the end
  return text.substr(0, offset_of(text, keep - tail)) + ".." + text.substr(offset_of(text, columns - tail));
}

std::string padded(const std::string &text, std::size_t to, Align align) {
  const auto columns = width(text);
  const std::string blank(to > columns ? to - columns : 0, ' ');
  return align == Align::left ? text + blank : blank + text;
}

std::string without_trailing_blanks(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

std::string styled(std::string line, std::string_view style, const Layout &layout) {
  if (!layout.colour) return line;
  return std::string{style} + line + std::string{kPlain};
}

}  // namespace

void Table::row(std::vector<std::string> cells, bool alarm) {
  for (auto &cell : cells) cell = printable(cell);
  cells.resize(columns_.size());
  lines_.push_back({std::move(cells), alarm, {}});
}

void Table::note(std::string text) { lines_.push_back({{}, false, printable(text)}); }

std::vector<std::size_t> Table::widths(std::size_t &gap, std::size_t limit) const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    auto widest = width(columns_[i].title);
    for (const auto &line : lines_)
      if (!line.cells.empty()) widest = std::max(widest, width(line.cells[i]));
    widths.push_back(widest);
  }
  const auto total = [&] { return std::reduce(widths.begin(), widths.end()) + gap * (columns_.size() - 1); };
  if (total() > limit) gap = 1;
  while (total() > limit) {
    std::size_t widest = columns_.size();
    for (std::size_t i = 0; i < columns_.size(); ++i)
      if (columns_[i].shorten != Shorten::never && widths[i] > columns_[i].least &&
          (widest == columns_.size() || widths[i] > widths[widest]))
        widest = i;
    if (widest == columns_.size()) break;
    --widths[widest];
  }
  return widths;
}

std::string Table::render(const Layout &layout) const {
  std::size_t gap = 2;
  const auto widths = this->widths(gap, layout.width);
  const auto line_of = [&](const auto &cell_of) {
    std::string line;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (i > 0) line.append(gap, ' ');
      line += padded(shortened(cell_of(i), widths[i], columns_[i].shorten), widths[i], columns_[i].align);
    }
    return without_trailing_blanks(line);
  };
  std::string text = styled(line_of([&](auto i) { return columns_[i].title; }), kBold, layout) + "\n";
  for (const auto &line : lines_) {
    if (line.cells.empty()) {
      text += wrap(line.note, layout.width, 4);
    } else {
      const auto plain = line_of([&](auto i) { return line.cells[i]; });
      text += (line.alarm ? styled(plain, kRed, layout) : plain) + "\n";
    }
  }
  return text;
}

std::string wrap(std::string_view text, std::size_t limit, std::size_t indent) {
  std::string lines, line(indent, ' ');
  bool empty = true;
  while (!text.empty()) {
    const auto end = std::min(text.find(' '), text.size());
    const auto word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!empty && width(line) + 1 + width(word) > limit) {
      lines += line + "\n";
      line.assign(indent, ' ');
      empty = true;
    }
    if (!empty) line += ' ';
    line += word;
    empty = false;
  }
  return lines + line + "\n";
}

std::string Facts::render(const Layout &layout) const {
  std::size_t names = 0;
  for (const auto &fact : facts_) names = std::max(names, width(fact.name));
  std::string text;
  for (const auto &fact : facts_) {
    const auto value = wrap(printable(fact.value), layout.width, names + 2);
    text += fact.name + value.substr(width(fact.name));
  }
  return text;
}

}  // namespace catsbpf::cli
