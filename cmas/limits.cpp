// SPDX-License-Identifier: Apache-2.0
#include "cmas/limits.h"

#include <cmath>

namespace catsbpf::cmas {

namespace {

Error absurd(const RowKey &key, const std::string &field, const std::string &value, const std::string &allowed) {
  return Error{"cannot take " + text(key) + ": " + field + " " + value + " is outside " + allowed,
               "allowed: " + allowed};
}

}  // namespace

std::string text(const RowKey &key) {
  return "CSCI-ID " + std::to_string(key.csci_id) + " of CS-ID " + std::to_string(key.cs_id);
}

Result<> check_cost(const RowKey &key, double cost) {
  // Written so that NaN fails too.
  if (!(cost >= 0 && cost <= kMaxCost)) return absurd(key, "cost", std::to_string(cost), "0..1e12");
  return done();
}

Result<> check(const Row &row) {
  const RowKey &key = row.key;
  if (key.cs_id == 0 || key.csci_id == 0)
    return Error{"cannot take " + text(key) + ": ids are numbers from 1 up", "give the row a CS-ID and a CSCI-ID"};
  const std::string slots = "0.." + std::to_string(kMaxGas);
  if (row.offered > kMaxGas) return absurd(key, "gas", std::to_string(row.offered), slots);
  if (row.in_use > kMaxGas) return absurd(key, "in use", std::to_string(row.in_use), slots);
  if (auto cost = check_cost(key, row.cost); !cost) return cost;
  if (row.access_delay < Micros(0) || row.access_delay > kMaxAccessDelay)
    return absurd(key, "access delay", std::to_string(row.access_delay.count()) + " us", "0..60 s");
  if (row.egresses.size() > kMaxEgresses)
    return absurd(key, "number of egresses", std::to_string(row.egresses.size()), "0.." + std::to_string(kMaxEgresses));
  for (const auto &egress : row.egresses)
    if (egress.empty() || egress.size() > kMaxEgressName)
      return absurd(key, "length of an egress name", std::to_string(egress.size()),
                    "1.." + std::to_string(kMaxEgressName));
  return done();
}

}  // namespace catsbpf::cmas
