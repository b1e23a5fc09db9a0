// SPDX-License-Identifier: Apache-2.0
#include "cli/format.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace catsbpf::cli {

std::string fixed(double value, int decimals) {
  std::array<char, 340> text;  // the largest double has 309 digits
  std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
  return text.data();
}

namespace {

// Three significant digits: 1.23, 12.3, 123. The limits are those at which rounding adds a digit.
std::string three_digits(double value) { return fixed(value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0); }

// `value` below 1000 with the prefix that makes it so.
std::string scaled(double value, const char *gap, const char *unit) {
  static constexpr const char *kPrefixes[] = {"", "k", "M", "G", "T", "P", "E"};
  std::size_t prefix = 0;
  while (value >= 999.5 && prefix + 1 < std::size(kPrefixes)) {
    value /= 1000;
    ++prefix;
  }
  return three_digits(value) + gap + kPrefixes[prefix] + unit;
}

}  // namespace

std::string si(uint64_t value) {
  return value < 10'000 ? std::to_string(value) : scaled(static_cast<double>(value), "", "");
}

std::string slots(int64_t gas) { return gas < 0 ? "-" : si(static_cast<uint64_t>(gas)); }

std::string counted(uint64_t value, const std::string &noun) {
  return si(value) + " " + noun + (value == 1 ? "" : "s");
}

std::string bytes(uint64_t value) {
  return value < 1000 ? std::to_string(value) + " B" : scaled(static_cast<double>(value), " ", "B");
}

std::string duration(double seconds) {
  if (!(seconds >= 0)) return "-";
  if (seconds < 9.995) return fixed(seconds, 2) + "s";
  if (seconds < 120) return fixed(seconds, 0) + "s";
  const auto minutes = static_cast<uint64_t>(seconds / 60);
  if (minutes < 60) return std::to_string(minutes) + "m";
  const auto two = [](uint64_t n) { return (n < 10 ? "0" : "") + std::to_string(n); };
  if (minutes < 48 * 60) return std::to_string(minutes / 60) + "h" + two(minutes % 60) + "m";
  return std::to_string(minutes / 1440) + "d" + two(minutes / 60 % 24) + "h";
}

std::string milliseconds(double value) {
  if (!(value >= 0)) return "-";
  return three_digits(value);
}

std::string mbps(double value) {
  if (!(value >= 0)) return "-";
  return value == 0 ? "0" : three_digits(value);
}

std::string percent(double fraction) {
  if (!(fraction >= 0)) return "-";
  return fixed(fraction * 100, 1) + "%";
}

int decimals_of(const std::vector<double> &column) {
  constexpr int kMost = 6;
  int decimals = 0;
  for (const double value : column)
    if (value > 0 && value != std::trunc(value))
      decimals = std::max(decimals, std::clamp(2 - static_cast<int>(std::floor(std::log10(value))), 1, kMost));
  return decimals;
}

std::string decimal(double value, int digits) {
  std::array<char, 64> text;
  std::snprintf(text.data(), text.size(), "%.*g", digits, value);
  return text.data();
}

std::string endpoint(const std::string &address, uint32_t port) {
  if (address.empty()) return "-";
  const bool ipv6 = address.find(':') != std::string::npos;
  return (ipv6 ? "[" + address + "]" : address) + ":" + std::to_string(port);
}

std::string printable(std::string_view text) {
  std::string safe{text};
  for (auto &character : safe)
    if (static_cast<unsigned char>(character) < 0x20 || character == 0x7f) character = '?';
  // C1 controls (U+0080..U+009F) move terminals as well; in UTF-8 they are 0xc2 and one byte.
  for (std::size_t i = 0; i + 1 < safe.size(); ++i)
    if (static_cast<unsigned char>(safe[i]) == 0xc2 && static_cast<unsigned char>(safe[i + 1]) < 0xa0)
      safe.replace(i, 2, "?");
  return safe;
}

std::size_t width(std::string_view utf8) {
  std::size_t columns = 0;
  for (const char byte : utf8) columns += (static_cast<unsigned char>(byte) & 0xc0) != 0x80;
  return columns;
}

std::string or_dash(const std::string &text) { return text.empty() ? "-" : text; }

std::string service_label(const std::string &service_id, uint32_t cs_id) {
  return service_id.empty() ? "CS-ID " + std::to_string(cs_id) : service_id;
}

}  // namespace catsbpf::cli
