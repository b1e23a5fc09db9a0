// SPDX-License-Identifier: Apache-2.0
#include "agent/config/words.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cctype>

namespace catsbpf::agent {

namespace {

using std::chrono::milliseconds;

// Levenshtein's: letters to add, leave out or change.
std::size_t distance(const std::string &a, const std::string &b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); j++) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); i++) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); j++) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::optional<milliseconds> parse_duration(const std::string &text) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto count = parse<uint32_t>(text.substr(0, digits));
  const std::string unit = text.substr(digits);
  if (!count) return std::nullopt;
  if (unit == "ms") return milliseconds(*count);
  if (unit == "s") return std::chrono::seconds(*count);
  if (unit == "m") return std::chrono::minutes(*count);
  if (unit == "h") return std::chrono::hours(*count);
  return std::nullopt;
}

std::string show(milliseconds time) {
  return time.count() % 1000 ? std::to_string(time.count()) + "ms" : std::to_string(time.count() / 1000) + "s";
}

bool is_address(const std::string &text, int family) {
  unsigned char bytes[16];
  return inet_pton(family, text.c_str(), bytes) == 1;
}

std::string no_host(const std::string &address) {
  in6_addr v6{};
  in_addr v4{};
  if (inet_pton(AF_INET, address.c_str(), &v4) == 1) {
    const uint32_t number = ntohl(v4.s_addr);
    if (number == INADDR_ANY) return "the unspecified address";
    if (number == INADDR_BROADCAST) return "the broadcast address";
    if (IN_MULTICAST(number)) return "a multicast address";
    if (number >> 24 == IN_LOOPBACKNET) return "a loopback address";
  } else if (inet_pton(AF_INET6, address.c_str(), &v6) == 1) {
    if (IN6_IS_ADDR_UNSPECIFIED(&v6)) return "the unspecified address";
    if (IN6_IS_ADDR_MULTICAST(&v6)) return "a multicast address";
    if (IN6_IS_ADDR_LOOPBACK(&v6)) return "a loopback address";
  }
  return "";
}

std::string join(const std::vector<std::string> &words, const std::string &between) {
  std::string all;
  for (const auto &word : words) all += (all.empty() ? "" : between) + word;
  return all;
}

std::string nearest(const std::string &text, const std::vector<std::string> &known) {
  std::string best;
  std::size_t least = std::max<std::size_t>(2, text.size() / 3) + 1;
  for (const auto &word : known) {
    const std::size_t d = distance(text, word);
    if (d < least) least = d, best = word;
  }
  return best;
}

bool valid_name(const std::string &text) {
  return !text.empty() && text.size() <= 63 && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '.' || c == '_' || c == '-';
  });
}

}  // namespace catsbpf::agent
