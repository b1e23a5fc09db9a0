// SPDX-License-Identifier: Apache-2.0
// The words of the site's API against those of the domain: rows and deltas as the site sends them, checked
// one by one so that an error names the row and the field. Pure.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cmas/proto/api.pb.h"
#include "cmas/site_table.h"
#include "util/result.h"

namespace catsbpf::agent {

using ResolveService = std::function<std::optional<uint32_t>(const std::string &service_id)>;

// `rows` may be empty but must be there: a table without it removes all.
Result<> check_complete(const std::string &body, const v1::SiteTable &table);

Result<std::vector<cmas::SiteRow>> rows_of(const v1::SiteTable &table, const std::string &site,
                                           const ResolveService &resolve);

using SiteChanges = std::vector<std::pair<cmas::RowKey, cmas::SiteChange>>;
using KeysByInstance = std::multimap<uint32_t, cmas::RowKey>;  // CSCI-ID -> rows
// Finds each delta's row and tries all on copies: an error means that none of them may be applied.
Result<SiteChanges> changes_of(const v1::SiteDeltas &deltas, const cmas::SiteTable &table, const KeysByInstance &keys);

Result<> check_named(const v1::ServiceFinished &finished);
// The reservation that a heartbeat ends, of those that there are.
Result<uint64_t> reservation_of(const v1::ServiceFinished &finished, const cmas::SiteTable &table);

v1::SiteRow to_api(const cmas::SiteRow &row);

}  // namespace catsbpf::agent
