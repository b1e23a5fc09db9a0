// SPDX-License-Identifier: Apache-2.0
#include "cmas/platform/service_check.h"

#include <arpa/inet.h>
#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace catsbpf::cmas {

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using Problems = std::vector<Problem>;

constexpr std::size_t kMaxText = 4096;
constexpr int kMaxList = 64;
constexpr std::uint32_t kMaxTimeout = 7 * 86400;

// What a terminal or a log may be shown: UTF-8 without control characters.
bool is_clean_text(const std::string &text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x20 || lead == 0x7f) return false;
    const std::size_t length = lead < 0x80                   ? 1
                               : lead >= 0xc2 && lead < 0xe0 ? 2
                               : lead >= 0xe0 && lead < 0xf0 ? 3
                               : lead >= 0xf0 && lead < 0xf5 ? 4
                                                             : 0;
    if (length == 0 || i + length > text.size()) return false;
    std::uint32_t point = length == 1 ? lead : lead & (0x7f >> length);
    for (std::size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xc0) != 0x80) return false;
      point = point << 6 | (next & 0x3f);
    }
    const bool overlong = (length == 3 && point < 0x800) || (length == 4 && point < 0x10000);
    const bool surrogate = point >= 0xd800 && point < 0xe000;
    if (overlong || surrogate || point > 0x10ffff || (point >= 0x80 && point < 0xa0)) return false;
    i += length;
  }
  return true;
}

void check_text(const std::string &field, const std::string &text, Problems &problems) {
  if (text.size() > kMaxText) problems.push_back({field, "has more than 4096 bytes"});
  if (!is_clean_text(text)) problems.push_back({field, "has control characters or is not UTF-8"});
}

// All texts and lists of the message, whatever their meaning.
void check_sizes(const std::string &prefix, const Message &message, Problems &problems) {
  const auto *reflection = message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor *field = message.GetDescriptor()->field(i);
    const std::string name = prefix + field->name();
    const int count = field->is_repeated() ? reflection->FieldSize(message, field) : 0;
    if (count > kMaxList) {
      problems.push_back({name, "has " + std::to_string(count) + " entries, more than 64"});
      continue;
    }
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      if (!field->is_repeated()) check_text(name, reflection->GetString(message, field), problems);
      for (int k = 0; k < count; ++k)
        check_text(name + "[" + std::to_string(k) + "]", reflection->GetRepeatedString(message, field, k), problems);
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      if (!field->is_repeated() && reflection->HasField(message, field))
        check_sizes(name + ".", reflection->GetMessage(message, field), problems);
      for (int k = 0; k < count; ++k)
        check_sizes(name + "[" + std::to_string(k) + "].", reflection->GetRepeatedMessage(message, field, k), problems);
    }
  }
}

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool is_service_id(const std::string &id) {
  return !id.empty() && id.size() <= 63 && is_letter(id[0]) && std::all_of(id.begin(), id.end(), [](char c) {
    return is_letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  });
}

bool host_bits_set(const Prefix &prefix) {
  for (unsigned bit = prefix.length; bit < (prefix.ipv6 ? 128u : 32u); ++bit)
    if (prefix.bytes[bit / 8] & (0x80 >> (bit % 8))) return true;
  return false;
}

// Addresses that are never a service's; "" for a good one.
std::string special_address(const Prefix &prefix) {
  const auto &b = prefix.bytes;
  if (prefix.length == 0) return "covers every address";
  if (!prefix.ipv6) {
    if (b[0] == 0) return "is an unspecified address";
    if (b[0] == 127) return "is a loopback address";
    if (b[0] == 169 && b[1] == 254) return "is a link-local address";
    if (b[0] >= 224) return "is a multicast, reserved or broadcast address";
    return "";
  }
  if (std::all_of(b.begin(), b.begin() + 10, [](auto byte) { return byte == 0; }) && b[10] == 0xff && b[11] == 0xff &&
      prefix.length >= 96)
    return "is an IPv4 address in IPv6 form";
  if (std::all_of(b.begin(), b.end() - 1, [](auto byte) { return byte == 0; }) && b[15] <= 1 && prefix.length > 8)
    return b[15] ? "is a loopback address" : "is an unspecified address";
  if (b[0] == 0xfe && (b[1] & 0xc0) == 0x80) return "is a link-local address";
  if (b[0] == 0xff) return "is a multicast address";
  return "";
}

void check_locator(const std::string &field, const v1::Locator &locator, Problems &problems) {
  const auto prefix = parse_prefix(locator.prefix());
  const std::string hint = "write 10.99.0.1, 10.99.0.0/24 or fd00:99::1";
  if (!prefix) {
    problems.push_back({field + ".prefix", "'" + locator.prefix() + "' is not an address or a prefix", hint});
  } else if (const auto special = special_address(*prefix); !special.empty()) {
    problems.push_back({field + ".prefix", "'" + locator.prefix() + "' " + special, hint});
  } else if (host_bits_set(*prefix)) {
    problems.push_back({field + ".prefix", "'" + locator.prefix() + "' has bits set behind its length",
                        "clear them, or leave the length out"});
  }
  const std::string &protocol = locator.protocol();
  if (protocol != "" && protocol != "tcp" && protocol != "udp")
    problems.push_back(
        {field + ".protocol", "'" + protocol + "' is not known", "use tcp, udp, or leave it out for any"});
  if (locator.port_min() > 65535 || locator.port_max() > 65535) {
    problems.push_back({field + (locator.port_min() > 65535 ? ".port_min" : ".port_max"), "is larger than 65535"});
  } else if (locator.port_max() != 0 && locator.port_max() < locator.port_min()) {
    problems.push_back({field + ".port_max", std::to_string(locator.port_max()) + " is below port_min " +
                                                 std::to_string(locator.port_min())});
  } else if (locator.port_max() != 0 && locator.port_min() == 0) {
    problems.push_back({field + ".port_min", "is missing beside port_max", "0 and 0 mean any port"});
  }
  if ((locator.port_min() || locator.port_max()) && protocol.empty())
    problems.push_back({field + ".protocol", "is missing beside ports", "say tcp or udp"});
}

bool is_bounded(double value, double low, double high) { return std::isfinite(value) && value >= low && value <= high; }

void check_steering(const v1::Service &service, Problems &problems) {
  const auto &time = service.computing_time();
  if (time.max_us() != 0 && time.max_us() < time.min_us())
    problems.push_back(
        {"computing_time.max_us", std::to_string(time.max_us()) + " is below min_us " + std::to_string(time.min_us())});
  if (time.max_us() == 0 && time.min_us() != 0)
    problems.push_back({"computing_time.max_us", "is missing beside min_us", "selection counts with max_us"});
  if (!is_bounded(time.parallel_fraction(), 0, 1))
    problems.push_back({"computing_time.parallel_fraction", "is not between 0 and 1"});

  const auto &affinity = service.affinity();
  if (affinity.timeout_s() > kMaxTimeout) problems.push_back({"affinity.timeout_s", "is longer than 7 days (604800)"});
  if (affinity.source_prefix4() > 32) problems.push_back({"affinity.source_prefix4", "is larger than 32"});
  if (affinity.source_prefix6() > 128) problems.push_back({"affinity.source_prefix6", "is larger than 128"});

  const auto &policy = service.policy();
  if (policy.ring() != "" && policy.ring() != "balanced")
    problems.push_back({"policy.ring", "'" + policy.ring() + "' is not known", "use balanced"});
  if (policy.request() != "" && policy.request() != "closest-cost" && policy.request() != "cheapest" &&
      policy.request() != "fastest")
    problems.push_back(
        {"policy.request", "'" + policy.request() + "' is not known", "use closest-cost, cheapest or fastest"});
  const std::pair<const char *, double> exponents[] = {
      {"policy.a", policy.a()}, {"policy.b", policy.b()}, {"policy.c", policy.c()}};
  for (const auto &[field, value] : exponents)
    if (!is_bounded(value, 0, 10)) problems.push_back({field, "is not between 0 and 10"});
}

// The ports that a locator claims, 1..65535 for any.
std::pair<std::uint32_t, std::uint32_t> ports(const v1::Locator &locator) {
  if (locator.port_min() == 0) return {0, 65535};
  return {locator.port_min(), locator.port_max() ? locator.port_max() : locator.port_min()};
}

bool meet(const v1::Locator &a, const v1::Locator &b) {
  const auto prefix_a = parse_prefix(a.prefix()), prefix_b = parse_prefix(b.prefix());
  if (!prefix_a || !prefix_b || *prefix_a != *prefix_b) return false;
  if (!a.protocol().empty() && !b.protocol().empty() && a.protocol() != b.protocol()) return false;
  const auto [low_a, high_a] = ports(a);
  const auto [low_b, high_b] = ports(b);
  return low_a <= high_b && low_b <= high_a;
}

void check_locators(const v1::Service &service, Problems &problems) {
  for (int i = 0; i < std::min(service.locators_size(), kMaxList); ++i) {
    const std::string field = "locators[" + std::to_string(i) + "]";
    check_locator(field, service.locators(i), problems);
    for (int k = 0; k < i; ++k) {
      if (!meet(service.locators(i), service.locators(k))) continue;
      problems.push_back({field, "claims the same packets as locators[" + std::to_string(k) + "]"});
      break;
    }
  }
}

}  // namespace

std::optional<Prefix> parse_prefix(const std::string &text) {
  const auto slash = text.find('/');
  const std::string address = text.substr(0, slash);
  Prefix prefix;
  prefix.ipv6 = address.find(':') != std::string::npos;
  prefix.length = prefix.ipv6 ? 128 : 32;
  if (inet_pton(prefix.ipv6 ? AF_INET6 : AF_INET, address.c_str(), prefix.bytes.data()) != 1) return std::nullopt;
  if (slash == std::string::npos) return prefix;
  unsigned length = 0;
  const char *first = text.data() + slash + 1, *last = text.data() + text.size();
  const auto [end, error] = std::from_chars(first, last, length);
  if (error != std::errc{} || end != last || length > prefix.length) return std::nullopt;
  prefix.length = length;
  return prefix;
}

std::vector<Problem> check(const v1::Service &service) {
  Problems problems;
  check_sizes("", service, problems);
  if (!is_service_id(service.service_id()))
    problems.push_back({"service_id",
                        service.service_id().empty() ? "is missing" : "'" + service.service_id() + "' is not a name",
                        "a letter, then letters, digits, '-', '_', '.', at most 63"});
  if (service.cs_id() == 0)
    problems.push_back({"cs_id", "is missing or 0", "give the service a number from 1 to 4294967295"});
  check_steering(service, problems);
  check_locators(service, problems);
  return problems;
}

std::optional<std::string> conflict(const v1::Service &mine, const v1::Service &other) {
  for (const auto &a : mine.locators())
    for (const auto &b : other.locators())
      if (meet(a, b)) return to_text(a) + (to_text(a) == to_text(b) ? "" : " (there: " + to_text(b) + ")");
  return std::nullopt;
}

std::string to_text(const v1::Locator &locator) {
  std::string text = locator.prefix();
  if (!locator.protocol().empty()) text += " " + locator.protocol();
  if (locator.port_min()) text += " " + std::to_string(locator.port_min());
  if (locator.port_max() > locator.port_min()) text += "-" + std::to_string(locator.port_max());
  return text;
}

Error refusal(const std::string &service_id, const std::vector<Problem> &problems) {
  Error error{"service " + (service_id.empty() ? "without a service_id" : service_id) + " is refused: ", "", EINVAL};
  const char *separator = "";
  for (const auto &problem : problems) {
    error.what += separator + problem.field + ": " + problem.reason;
    if (!problem.hint.empty() && error.hint.find(problem.hint) == std::string::npos)
      error.hint += (error.hint.empty() ? "" : "; ") + problem.field + ": " + problem.hint;
    separator = "; ";
  }
  return error;
}

}  // namespace catsbpf::cmas
