// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/cli_support.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "cli/format.h"

namespace catsbpf::cli {

void FakeTables::add_flow(const std::string &client, uint16_t port, uint16_t slot, uint16_t service,
                          uint32_t idle_jiffies, uint32_t packets, uint64_t state) {
  std::size_t entry = 0;
  const auto at = [&](std::size_t n) -> maps::flow_entry & {
    return flows_[n / FLOW_LINE_ENTRIES].entry[n % FLOW_LINE_ENTRIES];
  };
  while (entry < flows_.size() * FLOW_LINE_ENTRIES && at(entry).word != 0) ++entry;
  if (entry == flows_.size() * FLOW_LINE_ENTRIES) {
    flows_.emplace_back();
    records_.resize(flows_.size() * FLOW_LINE_ENTRIES);
  }
  const uint64_t tag = 0xabc000 + entry;
  at(entry).word = tag << FLOW_TAG_SHIFT | state << FLOW_STATE_SHIFT | slot;
  at(entry).seen = (now - idle_jiffies) << 32 | packets;
  auto &record = records_[entry];
  record.source = *maps::parse_address(client);
  record.destination = *maps::parse_address(maps::is_ipv4(record.source) ? "10.99.0.1" : "fd00:99::1");
  record.word = at(entry).word;
  record.created = static_cast<uint32_t>(now - 2'500);
  record.timeout = 300 * 250;
  record.source_port = htons(port);
  record.destination_port = htons(80);
  record.service = service;
  record.protocol = IPPROTO_TCP;
}

FakeTables two_sites() {
  FakeTables tables;
  tables.header.epoch = 42;
  tables.header.published_ns = 1;
  tables.services_.resize(4);
  tables.services_[1].cs_id = 1;
  tables.services_[1].ring_first = 1;
  tables.services_[1].ring_slots = 40;
  tables.services_[1].timeout = 75'000;
  tables.services_[3].cs_id = 2;
  tables.services_[3].timeout = 15'000;
  const auto locator = [&](const char *prefix, uint8_t length, uint8_t protocol, uint16_t least, uint16_t most,
                           uint32_t target) {
    maps::locator entry{};
    entry.prefix = *maps::parse_address(prefix);
    entry.kind = maps::LOCATOR_SERVICE;
    entry.length = length;
    entry.protocol = protocol;
    entry.port_min = least;
    entry.port_max = most;
    entry.target = target;
    tables.locators_.push_back(entry);
  };
  locator("10.99.0.1", 128, IPPROTO_TCP, 80, 80, 1);
  locator("fd00:99::1", 128, 0, 0, 65535, 1);
  locator("10.99.2.0", 96 + 24, IPPROTO_UDP, 5000, 5999, 3);
  locator("10.255.0.1", 128, 0, 0, 65535, 0);
  tables.locators_.back().kind = maps::LOCATOR_TUNNEL;
  tables.rings_.resize(3);
  for (uint32_t i = 0; i < 40; ++i)
    tables.rings_[1 + i / RING_LINE_SLOTS].slot[i % RING_LINE_SLOTS] = i % 4 == 3 ? 2 : 1;
  tables.instances_.resize(4);
  const auto instance = [&](uint16_t slot, uint32_t csci_id, uint16_t path, uint8_t state) {
    auto &entry = tables.instances_[slot];
    entry.cs_id = 1;
    entry.csci_id = csci_id;
    entry.path = path;
    entry.service = 1;
    entry.state = state;
  };
  instance(1, 1, 1, maps::INSTANCE_ACTIVE);
  instance(2, 3, 2, maps::INSTANCE_DRAINING);
  instance(3, 9, 2, maps::INSTANCE_RETIRED);
  tables.paths_.resize(3);
  tables.paths_[1].egress = *maps::parse_address("10.255.0.2");
  tables.paths_[1].state = maps::PATH_RESOLVED;
  tables.paths_[1].mtu = 1600;
  tables.paths_[1].next_hop4 = htonl(0xac1001fe);
  tables.paths_[1].header[5] = 0xfe;
  tables.paths_[2].egress = *maps::parse_address("10.255.0.3");
  tables.paths_[2].state = maps::PATH_UNRESOLVED;
  tables.deliveries_.resize(2);
  tables.deliveries_[1].cs_id = 2;
  tables.deliveries_[1].csci_id = 7;
  tables.deliveries_[1].state = maps::DELIVERY_RESOLVED;
  tables.interfaces_.resize(2);
  tables.interfaces_[1].ifindex = 4'000'000'000U;
  tables.interfaces_[1].sides = maps::SIDE_CLIENT | maps::SIDE_UNDERLAY;
  tables.outcomes_.resize(OUTCOME_COUNT);
  tables.outcomes_[OUTCOME_forwarded] = {1'000'000, 600'000'000};
  tables.outcomes_[OUTCOME_not_ours] = {2'000'000, 9'000};
  tables.outcomes_[OUTCOME_no_instance] = {3, 180};
  tables.flows_.resize(1);
  tables.records_.resize(FLOW_LINE_ENTRIES);
  return tables;
}

Result<Reply> FakeRemote::call(const Call &call) {
  calls.push_back(call);
  const auto found = replies.find(call.method + " " + call.path);
  if (found == replies.end()) return silence;
  return found->second;
}

Result<> FakeRemote::watch(const Call &call, const std::function<void(const Event &)> &event) {
  calls.push_back(call);
  for (const auto &each : events) event(each);
  return done();
}

namespace {

// What World::remote owns: hands on to the test's own.
struct Borrowed : Remote {
  explicit Borrowed(FakeRemote &to) : to(to) {}
  Result<Reply> call(const Call &call) override { return to.call(call); }
  Result<> watch(const Call &call, const std::function<void(const Event &)> &event) override {
    return to.watch(call, event);
  }
  FakeRemote &to;
};

}  // namespace

Ran run_command(const std::string &words, FakeRemote &remote, const FakeTables *tables,
                const std::map<std::string, std::string> &environment) {
  std::istringstream in(words);
  const std::vector<std::string> list{std::istream_iterator<std::string>(in), {}};
  std::ostringstream out, err;
  const World world{out,
                    err,
                    [&](const char *name) {
                      const auto found = environment.find(name);
                      return found == environment.end() ? nullptr : found->second.c_str();
                    },
                    [&](const Options &) { return std::make_unique<Borrowed>(remote); },
                    [&](const std::string &pins) -> Result<std::unique_ptr<maps::Tables>> {
                      if (!tables) return Error{"nothing is pinned at " + pins, "is catsbpfd set up here?", ENOENT};
                      return std::unique_ptr<maps::Tables>(std::make_unique<FakeTables>(*tables));
                    },
                    Layout{}};
  const auto exit = run(list, world);
  return {exit, out.str(), err.str()};
}

std::size_t widest_line(const std::string &text) {
  std::istringstream in(text);
  std::size_t widest = 0;
  for (std::string line; std::getline(in, line);) widest = std::max(widest, width(line));
  return widest;
}

}  // namespace catsbpf::cli
