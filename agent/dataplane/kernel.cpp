// SPDX-License-Identifier: Apache-2.0
// The kernel's data plane. In: options. Out: pinned maps, programs and links, and the maps as memory. The
// order matters to running traffic: check, load beside what runs, fill in, and only then put in place.
#include "agent/dataplane/dataplane.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "agent/dataplane/attach.h"
#include "agent/dataplane/features.h"
#include "agent/dataplane/grace.h"
#include "agent/dataplane/keeper.h"
#include "agent/dataplane/pins.h"
#include "bpf/catsbpf.skel.h"
#include "maps/map.h"
#include "maps/tables.h"
#include "util/log.h"

namespace catsbpf::agent {

namespace {

struct DestroySkeleton {
  void operator()(catsbpf_bpf *skeleton) const { catsbpf_bpf__destroy(skeleton); }
};
using Skeleton = std::unique_ptr<catsbpf_bpf, DestroySkeleton>;

uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// The coarse clock moves with the tick.
uint32_t kernel_hz() {
  timespec tick{};
  clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
  return static_cast<uint32_t>((1'000'000'000 + tick.tv_nsec / 2) / std::max<long>(tick.tv_nsec, 1));
}

uint32_t netns_inode() {
  struct stat status {};
  return stat("/proc/self/ns/net", &status) == 0 ? static_cast<uint32_t>(status.st_ino) : 0;
}

class KernelDataplane final : public Dataplane {
 public:
  Result<> open(const DataplaneOptions &options);

  maps::control &control() override { return control_[0]; }
  maps::view_header &view_header(int side) override { return view_headers_[side]; }
  std::span<maps::locator> locators(int side) override {
    return locators_.span().subspan(side * MAX_LOCATORS, MAX_LOCATORS);
  }
  std::span<maps::service_record> services(int side) override {
    return services_.span().subspan(side * MAX_SERVICES, MAX_SERVICES);
  }
  std::span<maps::ring_line> rings() override { return rings_.span(); }
  std::span<maps::instance> instances() override { return instances_.span(); }
  std::span<maps::path> paths() override { return paths_.span(); }
  std::span<maps::delivery> deliveries() override { return deliveries_.span(); }
  std::span<const maps::flow_line> flows() override { return flows_.span(); }
  std::span<const maps::flow_record> flow_records() override { return flow_records_.span(); }

  Result<> put_session(const maps::session_key &key, const maps::session &session) override {
    return maps::Hash<maps::session_key, maps::session>(*sessions_).put(key, session);
  }
  Result<> remove_session(const maps::session_key &key) override {
    return maps::Hash<maps::session_key, maps::session>(*sessions_).erase(key);
  }
  Result<std::vector<std::pair<maps::session_key, maps::session>>> sessions() override {
    return maps::Hash<maps::session_key, maps::session>(*sessions_).all();
  }
  Result<> clear_instance_counter(uint16_t slot) override {
    return maps::clear_on_all_cpus<maps::counter>(*instance_counters_, slot);
  }

  void heartbeat() override;
  Result<> wait_grace() override { return grace_.wait(); }
  // jiffies move with CLOCK_MONOTONIC: the distance at the last heartbeat holds.
  uint64_t jiffies() const override {
    return reading_.jiffies + (monotonic_ns() - reading_.monotonic_ns) * hz_ / 1'000'000'000;
  }
  std::vector<InterfaceView> interfaces() const override { return keeper_.interfaces(); }
  void undo() override { keeper_.undo(); }
  void mend() override { keeper_.mend(); }
  std::vector<std::string> warnings() const override { return keeper_.warnings(); }

 private:
  Result<> load();
  Result<> map_all();
  Result<> fill_in();
  Result<> read_clock();

  DataplaneOptions options_;
  Skeleton skeleton_;
  Keeper keeper_;
  maps::Array<maps::control> control_;
  maps::Array<maps::view_header> view_headers_;
  maps::Array<maps::locator> locators_;
  maps::Array<maps::service_record> services_;
  maps::Array<maps::ring_line> rings_;
  maps::Array<maps::instance> instances_;
  maps::Array<maps::path> paths_;
  maps::Array<maps::delivery> deliveries_;
  maps::Array<const maps::flow_line> flows_;
  maps::Array<const maps::flow_record> flow_records_;
  std::optional<maps::Map> sessions_, instance_counters_;
  Grace grace_;
  uint32_t hz_ = 1;
  maps::clock_reading reading_{};
};

// Loads beside what runs: nothing is attached here.
Result<> KernelDataplane::load() {
  collect_libbpf_messages();
  take_libbpf_messages();
  skeleton_.reset(catsbpf_bpf__open());
  if (!skeleton_) return explain_refusal(errno, take_libbpf_messages(), needed_features());
  bpf_object *object = skeleton_->obj;
  const uint32_t lines =
      std::bit_ceil(std::max<uint32_t>(options_.flow_entries, 2 * FLOW_LINE_ENTRIES)) / FLOW_LINE_ENTRIES;
  bpf_map__set_max_entries(skeleton_->maps.flows, lines);
  bpf_map__set_max_entries(skeleton_->maps.flow_records, lines * FLOW_LINE_ENTRIES);
  bpf_map__set_max_entries(skeleton_->maps.rings, options_.ring_lines);
  if (auto reused = reuse_pinned_maps(object, options_.pin_directory); !reused) return reused;
  const uint32_t pinned_lines = bpf_map__max_entries(skeleton_->maps.flows);
  if (!std::has_single_bit(pinned_lines) ||
      bpf_map__max_entries(skeleton_->maps.flow_records) != pinned_lines * FLOW_LINE_ENTRIES)
    return Error{"maps flows and flow_records pinned at " + options_.pin_directory +
                     " do not fit each other: " + std::to_string(pinned_lines) + " and " +
                     std::to_string(bpf_map__max_entries(skeleton_->maps.flow_records)) + " entries",
                 "give them up with `catsbpfd --uninstall`"};
  skeleton_->rodata->flow_line_mask = pinned_lines - 1;
  skeleton_->rodata->netns_inode = netns_inode();
  if (const int error = catsbpf_bpf__load(skeleton_.get()); error != 0)
    return explain_refusal(-error, take_libbpf_messages(), needed_features());
  return pin_new_maps(object, options_.pin_directory);
}

Result<> KernelDataplane::map_all() {
  for (auto [map, name] : {std::pair{&sessions_, "sessions"}, std::pair{&instance_counters_, "instance_counters"}}) {
    auto opened = maps::Map::open_pinned(maps::map_pin(options_.pin_directory, name), maps::Access::kReadWrite);
    if (!opened) return opened.error();
    map->emplace(std::move(*opened));
  }
  return maps::ArrayOpener(options_.pin_directory)
      .into(control_, "control")
      .into(view_headers_, "view_headers")
      .into(locators_, "locators")
      .into(services_, "services")
      .into(rings_, "rings")
      .into(instances_, "instances")
      .into(paths_, "paths")
      .into(deliveries_, "deliveries")
      .into(flows_, "flows")
      .into(flow_records_, "flow_records")
      .result();
}

Result<> KernelDataplane::read_clock() {
  maps::clock_reading reading{};
  LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = &reading, .ctx_size_in = sizeof reading);
  if (bpf_prog_test_run_opts(bpf_program__fd(skeleton_->progs.read_jiffies), &run) != 0)
    return system_error("cannot run program read_jiffies", errno);
  reading_ = reading;
  return done();
}

// What programs need before they see the first packet. `layout` last: with it the pins are complete.
Result<> KernelDataplane::fill_in() {
  hz_ = kernel_hz();
  if (auto read = read_clock(); !read) return read;
  auto map = maps::Map::open_pinned(maps::map_pin(options_.pin_directory, "secret"), maps::Access::kReadWrite);
  if (!map) return map.error();
  const uint32_t index = 0;
  maps::secret secret{};
  if (auto read = map->read(&index, &secret); !read) return read;
  if (secret.key[0] == 0 && secret.key[1] == 0) {
    if (getrandom(&secret, sizeof secret, 0) != sizeof secret)
      return system_error("cannot make the hash secret", errno);
    if (auto written = map->write(&index, &secret); !written) return written;
  }
  if (auto described = keeper_.describe(); !described) return described;
  control().hz = hz_;
  heartbeat();
  __atomic_store_n(&control().layout, CATSBPF_LAYOUT, __ATOMIC_RELEASE);

  LIBBPF_OPTS(bpf_test_run_opts, run);
  if (bpf_prog_test_run_opts(bpf_program__fd(skeleton_->progs.sweep_start), &run) != 0)
    return system_error("cannot run program sweep_start", errno);
  if (run.retval != 0) return system_error("cannot arm the sweep of the flow table", -static_cast<int>(run.retval));
  return done();
}

void KernelDataplane::heartbeat() {
  if (auto read = read_clock(); !read) log::warn("{}", read.error().what);
  __atomic_store_n(&control().heartbeat, jiffies(), __ATOMIC_RELEASE);
}

Result<> KernelDataplane::open(const DataplaneOptions &options) {
  options_ = options;
  if (auto found = keeper_.open(options_); !found) return found;
  if (auto loaded = load(); !loaded) return loaded;
  if (auto mapped = map_all(); !mapped) return mapped;
  if (auto filled = fill_in(); !filled) return filled;
  return keeper_.put_in_place(skeleton_->obj);
}

}  // namespace

Result<std::unique_ptr<Dataplane>> open_kernel_dataplane(const DataplaneOptions &options) {
  auto dataplane = std::make_unique<KernelDataplane>();
  if (auto opened = dataplane->open(options); !opened) {
    dataplane->undo();
    return opened.error();
  }
  return std::unique_ptr<Dataplane>(std::move(dataplane));
}

}  // namespace catsbpf::agent
