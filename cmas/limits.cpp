// SPDX-License-Identifier: Apache-2.0
#include "cmas/limits.h"

#include <string_view>

namespace catsbpf::cmas {

namespace {

Error absurd(const std::string &subject, const std::string &field, const std::string &value,
             const std::string &allowed) {
  return Error{"cannot take " + subject + ": " + field + " " + value + " is outside " + allowed, "allowed: " + allowed};
}

Result<> check_length(const std::string &subject, const std::string &field, std::size_t length, std::size_t least) {
  if (length >= least && length <= kMaxName) return done();
  return absurd(subject, "length of " + field, std::to_string(length),
                std::to_string(least) + ".." + std::to_string(kMaxName));
}

// As in the configuration; what it cannot name, nothing can match.
Result<> check_name(const std::string &subject, const std::string &field, const std::string &name) {
  if (auto length = check_length(subject, field, name.size(), 1); !length) return length;
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  if (name.find_first_not_of(kAllowed) != std::string::npos)
    return Error{"cannot take " + subject + ": " + field + " has a character that no name has",
                 "a name has letters, digits, '.', '_' and '-'"};
  return done();
}

template <class Names>
Result<> check_egresses(const std::string &subject, const Names &egresses) {
  const auto count = static_cast<std::size_t>(egresses.size());
  if (count > kMaxEgresses)
    return absurd(subject, "number of egresses", std::to_string(count), "0.." + std::to_string(kMaxEgresses));
  for (const auto &egress : egresses)
    if (auto name = check_name(subject, "an egress name", egress); !name) return name;
  return done();
}

}  // namespace

std::string text(const RowKey &key) {
  return "CSCI-ID " + std::to_string(key.csci_id) + " of CS-ID " + std::to_string(key.cs_id);
}

Result<> check_cost(const RowKey &key, double cost) {
  // Written so that NaN fails too.
  if (!(cost >= 0 && cost <= kMaxCost)) return absurd(text(key), "cost", std::to_string(cost), "0..1e12");
  return done();
}

Result<> check(const Row &row) {
  const RowKey &key = row.key;
  if (key.cs_id == 0 || key.csci_id == 0)
    return Error{"cannot take " + text(key) + ": ids are numbers from 1 up", "give the row a CS-ID and a CSCI-ID"};
  const std::string slots = "0.." + std::to_string(kMaxGas);
  if (row.offered > kMaxGas) return absurd(text(key), "gas", std::to_string(row.offered), slots);
  if (row.in_use > kMaxGas) return absurd(text(key), "in use", std::to_string(row.in_use), slots);
  if (auto cost = check_cost(key, row.cost); !cost) return cost;
  if (row.access_delay < Micros(0) || row.access_delay > kMaxAccessDelay)
    return absurd(text(key), "access delay", std::to_string(row.access_delay.count()) + " us", "0..60 s");
  return row.egresses.empty() ? done() : check_egresses(text(key), row.egresses);
}

Result<> check(const v1::Open &open) {
  const std::string subject = "the open";
  if (auto name = check_name(subject, "name", open.name()); !name) return name;
  if (auto site = check_name(subject, "site", open.site()); !site) return site;
  if (auto set = check_length(subject, "function_set", open.function_set().size(), 0); !set) return set;
  return check_egresses(subject, open.egresses());
}

}  // namespace catsbpf::cmas
