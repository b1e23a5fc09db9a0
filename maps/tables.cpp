// SPDX-License-Identifier: Apache-2.0
// Tables over the pins of one directory, mapped read-only.
#include "maps/tables.h"

#include <time.h>

#include <algorithm>

#include "maps/map.h"

namespace catsbpf::maps {

namespace {

constexpr const char *kMapNames[] = {
    "control",       "secret",       "interfaces", "own_addresses", "view_headers",      "locators",
    "services",      "rings",        "instances",  "paths",         "deliveries",        "sessions",
    "flows",         "flow_records", "sweep",      "outcomes",      "instance_counters", "delivery_counters",
    "flow_counters", "icmp_budget"};

Result<Map> open_map(const std::string &directory, const char *name) {
  return Map::open_pinned(map_pin(directory, name), Access::kReadOnly);
}

class PinnedTables final : public Tables {
 public:
  static Result<std::unique_ptr<Tables>> open(const std::string &directory);

  const struct control &control() const override { return control_[0]; }
  const struct view_header &view_header() const override { return view_headers_[side()]; }
  std::span<const struct locator> locators() const override {
    return locators_.span().subspan(side() * MAX_LOCATORS, MAX_LOCATORS);
  }
  std::span<const struct service_record> services() const override {
    return services_.span().subspan(side() * MAX_SERVICES, MAX_SERVICES);
  }
  std::span<const struct ring_line> rings() const override { return rings_.span(); }
  std::span<const struct instance> instances() const override { return instances_.span(); }
  std::span<const struct path> paths() const override { return paths_.span(); }
  std::span<const struct delivery> deliveries() const override { return deliveries_.span(); }
  std::span<const struct interface> interfaces() const override { return interfaces_.span(); }
  std::span<const struct flow_line> flows() const override { return flows_.span(); }
  std::span<const struct flow_record> flow_records() const override { return flow_records_.span(); }

  Result<std::vector<struct address>> own_addresses() const override {
    auto table = Array<const struct address>::open_pinned(directory_, "own_addresses");
    if (!table) return table.error();
    std::vector<struct address> own;
    for (const struct address &entry : table->span())
      if (entry.high || entry.low) own.push_back(entry);
    return own;
  }
  Result<std::vector<std::pair<struct session_key, struct session>>> sessions() const override {
    auto map = open_map(directory_, "sessions");
    if (!map) return map.error();
    return Hash<session_key, session>(*map).all();
  }
  Result<struct sweep> sweep() const override {
    auto map = open_map(directory_, "sweep");
    if (!map) return map.error();
    struct sweep sweep {};
    const uint32_t index = 0;
    if (auto read = map->read(&index, &sweep); !read) return read.error();
    return sweep;
  }

  Result<std::vector<struct counter>> outcomes() const override {
    auto map = open_map(directory_, "outcomes");
    if (!map) return map.error();
    std::vector<counter> sums;
    for (uint32_t index = 0; index < OUTCOME_COUNT && index < map->shape().entries; ++index) {
      auto sum = sum_over_cpus<counter>(*map, index);
      if (!sum) return sum.error();
      sums.push_back(*sum);
    }
    return sums;
  }
  Result<struct counter> instance_counter(uint32_t slot) const override {
    return sum_over_cpus<counter>(*instance_counters_, slot);
  }
  Result<struct counter> delivery_counter(uint32_t index) const override {
    return sum_over_cpus<counter>(*delivery_counters_, index);
  }
  Result<struct flow_counters> flow_counters() const override {
    auto map = open_map(directory_, "flow_counters");
    if (!map) return map.error();
    return sum_over_cpus<struct flow_counters>(*map, 0);
  }

  Result<std::vector<struct icmp_budget>> icmp_budgets() const override {
    auto map = open_map(directory_, "icmp_budget");
    if (!map) return map.error();
    return values_by_cpu<struct icmp_budget>(*map, 0);
  }

  Result<std::vector<MapInfo>> maps() const override;
  uint64_t jiffies() const override;

 private:
  uint32_t side() const { return __atomic_load_n(&control_[0].view, __ATOMIC_ACQUIRE) & 1; }
  Result<> check_layout() const;
  Result<> map_all();

  std::string directory_;
  Array<const struct control> control_;
  Array<const struct view_header> view_headers_;
  Array<const locator> locators_;
  Array<const service_record> services_;
  Array<const ring_line> rings_;
  Array<const instance> instances_;
  Array<const path> paths_;
  Array<const delivery> deliveries_;
  Array<const interface> interfaces_;
  Array<const flow_line> flows_;
  Array<const flow_record> flow_records_;
  std::optional<Map> instance_counters_, delivery_counters_;
};

Result<> PinnedTables::check_layout() const {
  auto map = open_map(directory_, "control");
  if (!map) {
    if (map.error().code == ENOENT)
      return Error{"nothing is pinned at " + directory_, "is catsbpfd set up here? name its pin directory by --pins",
                   ENOENT};
    return map.error();
  }
  std::vector<char> value(map->shape().value_bytes);
  const uint32_t index = 0;
  if (auto read = map->read(&index, value.data()); !read) return read.error();
  uint32_t layout = 0;
  if (value.size() >= sizeof layout) std::memcpy(&layout, value.data(), sizeof layout);
  if (layout == CATSBPF_LAYOUT) return done();
  if (layout == 0)
    return Error{"pins at " + directory_ + " are not complete",
                 "catsbpfd is making them, or died while it did: start it (again)"};
  return Error{"pins at " + directory_ + " have layout " + std::to_string(layout) + ", this program knows layout " +
                   std::to_string(CATSBPF_LAYOUT),
               kOtherPinsHint};
}

Result<> PinnedTables::map_all() {
  return ArrayOpener(directory_)
      .into(control_, "control")
      .into(view_headers_, "view_headers")
      .into(locators_, "locators")
      .into(services_, "services")
      .into(rings_, "rings")
      .into(instances_, "instances")
      .into(paths_, "paths")
      .into(deliveries_, "deliveries")
      .into(interfaces_, "interfaces")
      .into(flows_, "flows")
      .into(flow_records_, "flow_records")
      .result();
}

Result<std::unique_ptr<Tables>> PinnedTables::open(const std::string &directory) {
  auto tables = std::make_unique<PinnedTables>();
  tables->directory_ = directory;
  if (auto checked = tables->check_layout(); !checked) return checked.error();
  if (auto mapped = tables->map_all(); !mapped) return mapped.error();
  for (auto [map, name] : {std::pair{&tables->instance_counters_, "instance_counters"},
                           std::pair{&tables->delivery_counters_, "delivery_counters"}}) {
    auto opened = open_map(directory, name);
    if (!opened) return opened.error();
    map->emplace(std::move(*opened));
  }
  return std::unique_ptr<Tables>(std::move(tables));
}

Result<std::vector<Tables::MapInfo>> PinnedTables::maps() const {
  std::vector<MapInfo> infos;
  for (const char *name : kMapNames) {
    auto map = open_map(directory_, name);
    if (!map) return map.error();
    const MapShape &shape = map->shape();
    infos.push_back(
        {name, map_type_name(shape.type), shape.key_bytes, shape.value_bytes, shape.entries, map->memory_bytes()});
  }
  return infos;
}

uint64_t PinnedTables::jiffies() const {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const uint64_t now_ns = static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
  // Time does not run backwards, whatever the estimate says.
  return std::max<uint64_t>(estimate_jiffies(now_ns, control().hz), control().heartbeat);
}

}  // namespace

std::span<const char *const> map_names() { return kMapNames; }

Result<std::unique_ptr<Tables>> Tables::open(const std::string &pin_directory) {
  return PinnedTables::open(pin_directory);
}

}  // namespace catsbpf::maps
