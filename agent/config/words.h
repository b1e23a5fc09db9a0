// SPDX-License-Identifier: Apache-2.0
// Single words of a configuration: read, shown, compared.
#pragma once

#include <charconv>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace catsbpf::agent {

// The whole text as a number.
template <class T>
std::optional<T> parse(const std::string &text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}
// "100ms", "30s", "5m", "1h".
std::optional<std::chrono::milliseconds> parse_duration(const std::string &text);
std::string show(std::chrono::milliseconds time);

// "a name has letters, digits, ., _ and -": names go into certificates, files and logs.
bool valid_name(const std::string &text);
bool is_address(const std::string &text, int family);
// "a loopback address" and the like for an address that is not that of one host on the network, else "".
std::string no_host(const std::string &address);
// The known word nearest to `text`, "" when none is near.
std::string nearest(const std::string &text, const std::vector<std::string> &known);
std::string join(const std::vector<std::string> &words, const std::string &between = ", ");

}  // namespace catsbpf::agent
