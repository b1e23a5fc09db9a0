// SPDX-License-Identifier: Apache-2.0
#include "tests/support/plane.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "bpf/catsbpf.skel.h"
#include "maps/map.h"
#include "maps/tables.h"

namespace catsbpf::test {
namespace {

[[noreturn]] void die(const std::string &what) {
  std::fprintf(stderr, "data plane for tests: %s: %s\n", what.c_str(), std::strerror(errno));
  std::abort();
}

maps::address address_of(const std::string &text) {
  const auto parsed = maps::parse_address(text);
  if (!parsed) die("bad address " + text);
  return *parsed;
}

maps::address mask_of(uint32_t length) {
  uint8_t bytes[16] = {};
  for (uint32_t bit = 0; bit < length; ++bit) bytes[bit / 8] |= static_cast<uint8_t>(0x80 >> bit % 8);
  maps::address mask;
  std::memcpy(&mask, bytes, sizeof mask);
  return mask;
}

struct Prefix {
  maps::address address;
  uint32_t length;  // of 128
  bool v4;
};

Prefix parse_prefix(const std::string &text) {
  const size_t slash = text.find('/');
  Prefix prefix{address_of(text.substr(0, slash)), 128, false};
  prefix.v4 = maps::is_ipv4(prefix.address);
  if (slash != std::string::npos)
    prefix.length = static_cast<uint32_t>(std::stoul(text.substr(slash + 1))) + (prefix.v4 ? 96 : 0);
  const maps::address mask = mask_of(prefix.length);
  prefix.address.high &= mask.high;
  prefix.address.low &= mask.low;
  return prefix;
}

template <class T>
T sum_of_cpus(int map, uint32_t key) {
  std::vector<T> values(static_cast<size_t>(libbpf_num_possible_cpus()));
  if (bpf_map_lookup_elem(map, &key, values.data()) != 0) die("cannot read a counter");
  T total{};
  auto *to = reinterpret_cast<uint64_t *>(&total);
  for (const T &value : values)
    for (size_t i = 0; i < sizeof(T) / 8; ++i) to[i] += reinterpret_cast<const uint64_t *>(&value)[i];
  return total;
}

#define CATSBPF_NAME(name, kind, sentence) #name,
const char *const kOutcomeNames[] = {OUTCOMES(CATSBPF_NAME)};
#undef CATSBPF_NAME

}  // namespace

template <class T>
std::span<T> Plane::mapped(const char *name) {
  bpf_map *map = nullptr;
  bpf_object__for_each_map(map, skeleton_->obj)
    if (maps::table_name(skeleton_->obj, map) == name) break;
  const size_t entries = size_t{bpf_map__max_entries(map)} * bpf_map__value_size(map) / sizeof(T);
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t bytes = (entries * sizeof(T) + page - 1) / page * page;
  void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
  if (memory == MAP_FAILED) die(std::string("cannot map ") + name);
  mappings_.emplace_back(memory, bytes);
  return {static_cast<T *>(memory), entries};
}

Plane::Plane(uint32_t flow_lines, uint32_t ring_lines) {
  skeleton_ = catsbpf_bpf__open();
  if (!skeleton_) die("cannot open the programs");
  bpf_map__set_max_entries(skeleton_->maps.flows, flow_lines);
  bpf_map__set_max_entries(skeleton_->maps.flow_records, flow_lines * FLOW_LINE_ENTRIES);
  bpf_map__set_max_entries(skeleton_->maps.rings, ring_lines);
  skeleton_->rodata->flow_line_mask = flow_lines - 1;
  struct stat netns = {};
  if (stat("/proc/thread-self/ns/net", &netns) != 0) die("cannot read the network namespace");
  skeleton_->rodata->netns_inode = static_cast<uint32_t>(netns.st_ino);
  if (catsbpf_bpf__load(skeleton_) != 0) die("cannot load the programs");
  control_ = mapped<maps::control>("control").data();
  interfaces_ = mapped<maps::interface>("interfaces");
  own_addresses_ = mapped<maps::address>("own_addresses");
  headers_ = mapped<maps::view_header>("view_headers");
  locators_ = mapped<maps::locator>("locators");
  services_ = mapped<maps::service_record>("services");
  rings_ = mapped<maps::ring_line>("rings");
  instances_ = mapped<maps::instance>("instances");
  paths_ = mapped<maps::path>("paths");
  deliveries_ = mapped<maps::delivery>("deliveries");
  flows_ = mapped<maps::flow_line>("flows");
  records_ = mapped<maps::flow_record>("flow_records");
  auto *secret = mapped<maps::secret>("secret").data();
  secret->key[0] = 0x0706050403020100;
  secret->key[1] = 0x0f0e0d0c0b0a0908;
  timespec tick = {};
  clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
  *control_ = maps::control{};
  control_->layout = CATSBPF_LAYOUT;
  control_->hz = static_cast<uint32_t>(1'000'000'000 / tick.tv_nsec);
  control_->icmp_source4 = address_of("10.1.0.1");
  control_->icmp_source6 = address_of("fd00:1::1");
  interface_sides(maps::SIDE_CLIENT | maps::SIDE_UNDERLAY);
}

Plane::~Plane() {
  for (const auto &[memory, bytes] : mappings_) munmap(memory, bytes);
  catsbpf_bpf__destroy(skeleton_);
}

int Plane::xdp_program() const { return bpf_program__fd(skeleton_->progs.catsbpf_xdp); }

uint32_t Plane::run(int program, const Bytes &frame, Bytes &output) {
  output.resize(4096);
  LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame.data(), .data_out = output.data(),
              .data_size_in = static_cast<uint32_t>(frame.size()),
              .data_size_out = static_cast<uint32_t>(output.size()));
  if (bpf_prog_test_run_opts(program, &run) != 0) die("cannot run a program on a packet");
  output.resize(run.data_size_out);
  return run.retval;
}

std::vector<uint64_t> Plane::outcome_counts() const {
  std::vector<uint64_t> counts;
  for (uint32_t i = 0; i < OUTCOME_COUNT; ++i) counts.push_back(outcome_packets(i));
  return counts;
}

Answer Plane::answer(int program, const Bytes &frame) const {
  const auto before = outcome_counts();
  Answer answer;
  Bytes output(4096);
  xdp_md in = {}, out = {};
  in.data_end = static_cast<uint32_t>(frame.size());
  in.ingress_ifindex = kLoopback;
  LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame.data(), .data_out = output.data(),
              .data_size_in = static_cast<uint32_t>(frame.size()),
              .data_size_out = static_cast<uint32_t>(output.size()), .ctx_in = &in, .ctx_out = &out,
              .ctx_size_in = sizeof in, .ctx_size_out = sizeof out);
  if (bpf_prog_test_run_opts(program, &run) != 0) die("cannot run the program on a packet");
  output.resize(run.data_size_out);
  answer.verdict = run.retval;
  answer.metadata = truncated(output, out.data);
  answer.packet.assign(output.begin() + out.data, output.end());
  const auto after = outcome_counts();
  for (uint32_t i = 0; i < OUTCOME_COUNT; ++i)
    for (uint64_t n = before[i]; n < after[i]; ++n)
      answer.outcome += (answer.outcome.empty() ? "" : "+") + std::string(kOutcomeNames[i]);
  return answer;
}

Answer Plane::xdp(const Bytes &frame) const { return answer(xdp_program(), frame); }

Answer Plane::tc(const Bytes &frame) const {
  Answer answer;
  const auto before = outcome_counts();
  answer.verdict = run(bpf_program__fd(skeleton_->progs.catsbpf_slow), frame, answer.packet);
  const auto after = outcome_counts();
  for (uint32_t i = 0; i < OUTCOME_COUNT; ++i)
    if (after[i] != before[i]) answer.outcome += kOutcomeNames[i];
  return answer;
}

void Plane::receive(const Bytes &frame, uint32_t ifindex, uint32_t count) const {
  xdp_md in = {};
  in.data_end = static_cast<uint32_t>(frame.size());
  in.ingress_ifindex = ifindex;
  LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame.data(), .data_size_in = static_cast<uint32_t>(frame.size()),
              .ctx_in = &in, .ctx_size_in = sizeof in, .repeat = static_cast<int>(count),
              .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = 16);
  if (bpf_prog_test_run_opts(xdp_program(), &run) != 0) die("cannot feed frames to the program");
}

void Plane::attach_error_counters() {
  skeleton_->links.redirect_err = bpf_program__attach(skeleton_->progs.redirect_err);
  skeleton_->links.devmap_xmit = bpf_program__attach(skeleton_->progs.devmap_xmit);
  if (!skeleton_->links.redirect_err || !skeleton_->links.devmap_xmit) die("cannot attach the error counters");
}

void Plane::attach_slow(uint32_t ifindex) const {
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(ifindex), .attach_point = BPF_TC_INGRESS);
  LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = bpf_program__fd(skeleton_->progs.catsbpf_slow), .handle = 1,
              .priority = 1);
  if (bpf_tc_hook_create(&hook) != 0 || bpf_tc_attach(&hook, &options) != 0) die("cannot attach the tc program");
}

int Plane::sweep_start() const {
  LIBBPF_OPTS(bpf_test_run_opts, run);
  if (bpf_prog_test_run_opts(bpf_program__fd(skeleton_->progs.sweep_start), &run) != 0) die("cannot run sweep_start");
  return static_cast<int>(run.retval);
}

maps::clock_reading Plane::read_jiffies() const {
  maps::clock_reading reading = {};
  LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = &reading, .ctx_size_in = sizeof reading);
  if (bpf_prog_test_run_opts(bpf_program__fd(skeleton_->progs.read_jiffies), &run) != 0) die("cannot run read_jiffies");
  return reading;
}

void Plane::interface_sides(uint32_t sides, uint32_t ifindex) {
  maps::interface value {};
  value.ifindex = sides ? ifindex : 0;
  value.sides = sides;
  interfaces_[ifindex % MAX_INTERFACES] = value;
}

void Plane::interface_macs(const Bytes &mac, const std::vector<Bytes> &further, uint32_t ifindex) {
  maps::interface &value = interfaces_[ifindex % MAX_INTERFACES];
  std::copy(mac.begin(), mac.end(), value.mac);
  value.further_macs = static_cast<uint8_t>(further.size());
  for (size_t i = 0; i < further.size(); ++i) std::copy(further[i].begin(), further[i].end(), value.further_mac[i]);
}

void Plane::own_addresses(const std::vector<std::string> &addresses) {
  std::fill(own_addresses_.begin(), own_addresses_.end(), maps::address{});
  for (const std::string &address : addresses) {
    const maps::address own = address_of(address);
    uint32_t probe = 0;
    while (own_addresses_[maps::own_address_place(maps::own_address_hash(own), probe)].low) ++probe;
    own_addresses_[maps::own_address_place(maps::own_address_hash(own), probe)] = own;
  }
}

void Plane::services(const std::vector<ServiceSpec> &services) { wanted_services_ = services; }

void Plane::tunnel(const std::string &address, uint32_t vni, const std::vector<std::string> &forwarders) {
  tunnel_address_ = address;
  vni_ = vni;
  forwarders_ = forwarders;
}

void Plane::add_locator(uint32_t side, const LocatorSpec &spec, uint8_t kind, uint32_t target) {
  const Prefix prefix = parse_prefix(spec.prefix);
  auto table = locators_.subspan(side * MAX_LOCATORS, MAX_LOCATORS);
  const uint32_t home = maps::locator_hash(prefix.address, prefix.length, headers_[side].locator_seed);
  maps::locator rule = {};
  rule.prefix = prefix.address;
  rule.kind = kind;
  rule.length = static_cast<uint8_t>(prefix.length);
  rule.protocol = spec.protocol;
  rule.port_min = spec.port_min;
  rule.port_max = spec.port_max;
  rule.target = target;
  for (uint32_t i = 0; i < LOCATOR_PROBES; ++i) {
    maps::locator &at = table[(home + i) % MAX_LOCATORS];
    if (at.kind == maps::LOCATOR_FREE) {
      at = rule;
      return;
    }
    if (at.chained || at.length != rule.length || std::memcmp(&at.prefix, &rule.prefix, sizeof rule.prefix) != 0)
      continue;
    maps::locator *last = &at;  // same prefix: one more rule in its chain
    while (last->next) last = &table[last->next - 1];
    uint32_t free = 0;
    while (table[free].kind != maps::LOCATOR_FREE) ++free;
    rule.chained = 1;
    table[free] = rule;
    last->next = free + 1;
    return;
  }
  die("no place for locator " + spec.prefix);
}

void Plane::write_locators(uint32_t side) {
  maps::view_header &header = headers_[side];
  std::set<uint32_t, std::greater<>> lengths[2];
  for (auto &locator : locators_.subspan(side * MAX_LOCATORS, MAX_LOCATORS)) locator = {};
  if (!tunnel_address_.empty()) {
    add_locator(side, {.prefix = tunnel_address_}, maps::LOCATOR_TUNNEL, vni_);
    lengths[1].insert(128);
  }
  for (const auto &forwarder : forwarders_) add_locator(side, {.prefix = forwarder}, maps::LOCATOR_FORWARDER, 0);
  for (uint32_t i = 0; i < wanted_services_.size(); ++i)
    for (const auto &locator : wanted_services_[i].locators) {
      const Prefix prefix = parse_prefix(locator.prefix);
      lengths[prefix.v4].insert(prefix.length);
      add_locator(side, locator, maps::LOCATOR_SERVICE, i);
    }
  auto write = [](const std::set<uint32_t, std::greater<>> &from, maps::prefix_length *to) {
    uint32_t n = 0;
    for (const uint32_t length : from) {
      if (n == MAX_PREFIX_LENGTHS) die("too many prefix lengths");
      const maps::address mask = mask_of(length);
      to[n++] = {.mask_high = mask.high, .mask_low = mask.low, .length = length, .pad = 0};
    }
    return n;
  };
  header.services = static_cast<uint32_t>(wanted_services_.size());
  header.lengths4 = write(lengths[1], header.length4);
  header.lengths6 = write(lengths[0], header.length6);
}

void Plane::publish() {
  syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);  // packets may still see the side that is written now
  const uint32_t side = control_->view ^ 1;
  headers_[side].epoch = headers_[side ^ 1].epoch + 1;
  headers_[side].locator_seed = headers_[side].epoch * 0x9e3779b97f4a7c15ULL;
  write_locators(side);
  for (uint32_t i = 0; i < wanted_services_.size(); ++i) {
    const ServiceSpec &spec = wanted_services_[i];
    const uint32_t slots = spec.ring.empty() ? 0 : spec.ring_slots;
    const uint32_t lines = (slots + RING_LINE_SLOTS - 1) / RING_LINE_SLOTS;
    if (next_ring_line_ + lines > rings_.size()) next_ring_line_ = 0;
    for (uint32_t slot = 0; slot < slots; ++slot)
      rings_[next_ring_line_ + slot / RING_LINE_SLOTS].slot[slot % RING_LINE_SLOTS] =
          spec.ring[slot % spec.ring.size()];
    maps::service_record record = {};
    record.cs_id = spec.cs_id;
    record.ring_first = slots ? next_ring_line_ : 0;  // as the programmer does
    record.ring_slots = slots;
    record.timeout = spec.timeout;
    record.source_mask = address_of(spec.source_mask6);
    record.source_ignore4 = htonl(spec.source_ignore4);
    record.source_port_mask = spec.source_port_mask;
    record.destination_port_mask = spec.destination_port_mask;
    record.protocol_mask = spec.protocol_mask;
    record.destination = 1;
    services_[side * MAX_SERVICES + i] = record;
    next_ring_line_ += lines;
  }
  __atomic_store_n(&control_->view, side, __ATOMIC_RELEASE);
}

void Plane::instance(uint16_t slot, uint32_t cs_id, uint32_t csci_id, uint16_t path, maps::instance_state state) {
  maps::instance value = {};
  value.cs_id = cs_id;
  value.csci_id = csci_id;
  value.path = path;
  value.state = static_cast<uint8_t>(state);
  value.option_ids[0] = htonl(cs_id);
  value.option_ids[1] = htonl(csci_id);
  instances_[slot] = value;
}

void Plane::path(uint16_t index, const std::string &egress, uint16_t mtu, maps::path_state state) {
  maps::path value = {};
  Bytes header =
      ethernet(kCoreMac, kRouterMac, kIpv4Type,
               geneve({.destination = egress, .source_port = 0, .cs_id = 0, .csci_id = 0, .inner_type = 0xffff}, {}));
  write16(header, 16, 0);  // as the contract says: lengths, TOS, inner protocol and ids are zero
  write16(header, 38, 0);
  write16(header, 44, 0);
  write16(header, 24, 0);
  write16(header, 24, checksum(Bytes(header.begin() + 14, header.begin() + 34)));
  std::copy(header.begin(), header.end(), value.header);
  value.ifindex = kLoopback;
  value.mtu = mtu;
  value.state = static_cast<uint8_t>(state);
  value.egress = address_of(egress);
  paths_[index] = value;
}

void Plane::delivery(uint32_t cs_id, uint32_t csci_id, const std::string &contact, maps::delivery_state state,
                     const std::string &contact6) {
  maps::delivery value = {};
  value.cs_id = cs_id;
  value.csci_id = csci_id;
  value.contact = address_of(contact);
  if (!contact6.empty()) value.contact6 = address_of(contact6);
  value.ifindex = kLoopback;
  value.state = static_cast<uint8_t>(state);
  const Bytes macs = concat(kInstanceMac, kRouterMac);
  std::copy(macs.begin(), macs.end(), value.ethernet);
  for (uint32_t i = 0; i < DELIVERY_PROBES; ++i) {
    maps::delivery &at = deliveries_[(maps::delivery_hash(csci_id) + i) % MAX_DELIVERIES];
    if (at.state == maps::DELIVERY_FREE || at.csci_id == csci_id) {
      at = value;
      return;
    }
  }
  die("no place for a delivery");
}

void Plane::session(const std::string &client, uint32_t cs_id, uint16_t slot, uint64_t expires) {
  const maps::session_key key{address_of(client), cs_id, 0};
  maps::session value = {};
  value.expires = expires;
  value.slot = slot;
  if (bpf_map_update_elem(bpf_map__fd(skeleton_->maps.sessions), &key, &value, BPF_ANY) != 0)
    die("cannot put a session");
}

maps::flow_counters Plane::flow_counters() const {
  return sum_of_cpus<maps::flow_counters>(bpf_map__fd(skeleton_->maps.flow_counters), 0);
}
uint64_t Plane::outcome_packets(uint32_t outcome) const {
  return sum_of_cpus<maps::counter>(bpf_map__fd(skeleton_->maps.outcomes), outcome).packets;
}
uint64_t Plane::instance_packets(uint16_t slot) const {
  return sum_of_cpus<maps::counter>(bpf_map__fd(skeleton_->maps.instance_counters), slot).packets;
}
maps::delivery &Plane::delivery_at(uint32_t csci_id) {
  for (uint32_t i = 0; i < DELIVERY_PROBES; ++i) {
    maps::delivery &at = deliveries_[(maps::delivery_hash(csci_id) + i) % MAX_DELIVERIES];
    if (at.state != maps::DELIVERY_FREE && at.csci_id == csci_id) return at;
  }
  die("no such delivery");
}
uint64_t Plane::delivery_packets(uint32_t csci_id) {
  const auto key = static_cast<uint32_t>(&delivery_at(csci_id) - deliveries_.data());
  return sum_of_cpus<maps::counter>(bpf_map__fd(skeleton_->maps.delivery_counters), key).packets;
}

maps::sweep Plane::sweep() const {
  maps::sweep value = {};
  const uint32_t zero = 0;
  if (bpf_map_lookup_elem(bpf_map__fd(skeleton_->maps.sweep), &zero, &value) != 0) die("cannot read the sweep");
  return value;
}

size_t Plane::live_flows() const {
  size_t n = 0;
  for (const auto &line : flows_)
    for (const auto &entry : line.entry) n += __atomic_load_n(&entry.word, __ATOMIC_ACQUIRE) != 0;
  return n;
}

}  // namespace catsbpf::test
