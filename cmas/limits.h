// SPDX-License-Identifier: Apache-2.0
// What a row and an Open may say at most. The site's API (SiteTable) and the delta session (DeltaReceiver)
// refuse the same rows, so that nothing enters a network that its own site would not have taken.
#pragma once

#include "cmas/model.h"
#include "cmas/proto/session.pb.h"
#include "util/result.h"

namespace catsbpf::cmas {

constexpr uint32_t kMaxGas = 1'000'000;
constexpr double kMaxCost = 1e12;
constexpr Micros kMaxAccessDelay = std::chrono::seconds(60);
// Rows of one site, and what a row may name: together they keep a Snapshot below kMaxMessageBytes.
constexpr std::size_t kMaxRows = 12'000;
constexpr std::size_t kMaxEgresses = 4;
constexpr std::size_t kMaxName = 63;  // of a node, a site, an egress, a function set

// "CSCI-ID 3 of CS-ID 1", as errors name a row.
std::string text(const RowKey &key);

// Fails, naming the row and the field, on ids of 0, a cost that is negative, not finite or > kMaxCost,
// more slots than kMaxGas, an access delay below 0 or > kMaxAccessDelay, too many egresses, or one that is no name.
Result<> check(const Row &row);
// Fails, naming the field, on what is no name, a long function set, too many egresses.
Result<> check(const v1::Open &open);
Result<> check_cost(const RowKey &key, double cost);

}  // namespace catsbpf::cmas
