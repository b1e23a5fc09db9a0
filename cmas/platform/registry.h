// SPDX-License-Identifier: Apache-2.0
// The registry of public services in SQLite: each change is one transaction, on disk before it is answered, and has a
// revision of its own; revisions grow for ever. Several programs may have the same file open.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cmas/platform/sqlite.h"
#include "cmas/proto/service.pb.h"
#include "util/result.h"

namespace catsbpf::cmas {

// Codes of errors: EINVAL the service is not acceptable, EEXIST it collides with another one, ESTALE it is not at the
// revision that was expected, ENOENT there is none; others: the database.
class Registry {
 public:
  // Makes the file when it is missing. Refuses a file that is damaged, no registry, or of another version.
  static Result<std::unique_ptr<Registry>> open(const std::string &path);

  // Services that have every word of `search` in one of table 1's columns, letter case aside; by CS-ID.
  Result<v1::ServiceCatalogue> list(const std::string &search = {});
  // By Service ID or by CS-ID in decimal.
  Result<std::optional<v1::Service>> get(const std::string &id);

  struct Put {
    v1::Service service;  // as stored
    bool created = false;
    bool changed = false;  // false: it was there just so; the revision stays
  };
  Result<Put> put(const v1::Service &service, std::optional<std::uint64_t> expected_revision = {});
  Result<> remove(const std::string &service_id, std::optional<std::uint64_t> expected_revision = {});

  struct Import {
    unsigned created = 0, changed = 0, unchanged = 0;
  };
  // All or nothing. Services that are not named stay.
  Result<Import> import(const std::vector<v1::Service> &services);

  Result<std::uint64_t> revision();
  struct Changes {
    // False: the log does not reach back so far (or `since` is of another registry): take the list instead.
    bool known = false;
    std::vector<v1::ServiceChange> changes;  // oldest first
  };
  Result<Changes> changes_after(std::uint64_t since, unsigned limit);

 private:
  explicit Registry(Database database) : database_(std::move(database)) {}
  using Services = std::map<std::string, v1::Service>;
  Result<> prepare_schema();
  Result<Services> load();
  Result<Put> put_among(Services &services, const v1::Service &service, std::optional<std::uint64_t> expected_revision);
  Result<std::uint64_t> next_revision();
  Result<> forget_old_removals();

  Database database_;
};

}  // namespace catsbpf::cmas
