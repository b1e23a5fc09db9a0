// SPDX-License-Identifier: Apache-2.0
// The programmer's parts by themselves: locator table, pools, translation, refusals of the kernel.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <set>

#include "agent/dataplane/features.h"
#include "agent/programmer/locator_index.h"
#include "agent/programmer/pools.h"
#include "agent/programmer/service_networks.h"
#include "agent/programmer/translate.h"
#include "maps/tables.h"

namespace catsbpf::agent {
namespace {

maps::locator rule_for(const std::string &address, uint32_t target = 1) {
  maps::locator rule = address_rule(*maps::parse_address(address), maps::LOCATOR_SERVICE);
  rule.target = target;
  return rule;
}

TEST(locator_index, a_table_filled_to_its_bound_is_within_the_probes) {
  std::mt19937 random(7);
  LocatorIndex index;
  std::set<uint32_t> addresses;
  while (addresses.size() < LocatorIndex::kMaxRules) addresses.insert(random());
  uint32_t owner = 0;
  for (uint32_t address : addresses) {
    in_addr v4{address};
    char text[INET_ADDRSTRLEN];
    ASSERT_TRUE(index.claim(++owner, "S", {rule_for(inet_ntop(AF_INET, &v4, text, sizeof text), owner)}).ok());
  }
  auto beyond = index.claim(++owner, "last", {rule_for("10.0.0.1")});
  ASSERT_FALSE(beyond.ok());
  EXPECT_EQ(beyond.error().what, "service last does not fit: the locator table takes 13107 locators");
  std::vector<maps::locator> table(MAX_LOCATORS);
  maps::view_header header{};
  auto written = index.write(table, header);
  ASSERT_TRUE(written.ok()) << written.error().text();
  size_t found = 0;
  for (uint32_t at = 0; at < MAX_LOCATORS; ++at) {
    if (table[at].kind == maps::LOCATOR_FREE) continue;
    const uint32_t home = maps::locator_hash(table[at].prefix, table[at].length, header.locator_seed) % MAX_LOCATORS;
    ASSERT_LT((at + MAX_LOCATORS - home) % MAX_LOCATORS, static_cast<uint32_t>(LOCATOR_PROBES));
    for (uint32_t step = home; step != at; step = (step + 1) % MAX_LOCATORS)
      ASSERT_NE(table[step].kind, maps::LOCATOR_FREE) << "a free slot ends a search";
    ++found;
  }
  EXPECT_EQ(found, addresses.size());
}

TEST(locator_index, a_fifth_prefix_length_of_a_family_is_refused_and_nothing_changes) {
  LocatorIndex index;
  auto prefix = [](const std::string &address, uint8_t length) {
    maps::locator rule = rule_for(address);
    rule.length = static_cast<uint8_t>(96 + length);
    return rule;
  };
  for (uint8_t length : {8, 16, 24, 32})
    ASSERT_TRUE(index.claim(length, "S", {length == 32 ? rule_for("10.0.0.1") : prefix("11.0.0.0", length)}).ok());
  auto fifth = index.claim(99, "fifth", {prefix("12.0.0.0", 12)});
  ASSERT_FALSE(fifth.ok());
  EXPECT_NE(fifth.error().what.find("service fifth needs a prefix length beyond the 4"), std::string::npos);
  EXPECT_TRUE(index.claim(98, "v6", {rule_for("fd00::1")}).ok()) << "families are counted apart";
  index.release(8);
  EXPECT_TRUE(index.claim(99, "fifth", {prefix("12.0.0.0", 12)}).ok());
}

TEST(locator_index, rules_that_overlap_in_part_conflict) {
  LocatorIndex index;
  auto ports = [](uint16_t low, uint16_t high, uint8_t protocol = IPPROTO_TCP) {
    maps::locator rule = rule_for("10.99.0.1");
    rule.port_min = low;
    rule.port_max = high;
    rule.protocol = protocol;
    return rule;
  };
  ASSERT_TRUE(index.claim(1, "first", {ports(80, 90)}).ok());
  auto overlapping = index.claim(2, "second", {ports(85, 95)});
  ASSERT_FALSE(overlapping.ok());
  EXPECT_EQ(overlapping.error().what, "service second claims 10.99.0.1 tcp port 85-95, which belongs to service first");
  EXPECT_FALSE(index.claim(2, "second", {ports(80, 90)}).ok());
  EXPECT_TRUE(index.claim(2, "second", {ports(85, 86)}).ok()) << "narrower: it goes first";
  EXPECT_TRUE(index.claim(3, "third", {ports(80, 90, IPPROTO_UDP)}).ok());
  EXPECT_FALSE(index.claim(4, "fourth", {ports(80, 85, 0)}).ok()) << "wider in protocol, narrower in ports";
}

TEST(locator_index, a_prefix_takes_as_many_locators_as_packets_are_compared_with) {
  LocatorIndex index;
  const auto ports = [](uint16_t first, uint16_t count) {
    LocatorRules rules(count, rule_for("10.99.0.1"));
    for (uint16_t i = 0; i < count; ++i) {
      rules[i].protocol = IPPROTO_TCP;
      rules[i].port_min = rules[i].port_max = static_cast<uint16_t>(first + i);
    }
    return rules;
  };
  const auto too_many = index.claim(1, "first", ports(80, LOCATOR_CHAIN + 1));
  ASSERT_FALSE(too_many.ok());
  EXPECT_EQ(too_many.error().what,
            "service first claims 10.99.0.1 tcp port 80: with it 17 locators have that prefix, packets are looked up "
            "among 16");
  ASSERT_TRUE(index.claim(1, "first", ports(80, LOCATOR_CHAIN - 1)).ok());
  ASSERT_TRUE(index.claim(2, "second", ports(8000, 1)).ok());
  EXPECT_FALSE(index.claim(3, "third", ports(9000, 1)).ok());
}

TEST(run_pool, joins_what_is_released) {
  RunPool pool(100);
  const auto a = pool.allocate(40), b = pool.allocate(40);
  ASSERT_TRUE(a && b);
  EXPECT_FALSE(pool.allocate(40));
  pool.release(*a);
  EXPECT_FALSE(pool.allocate(60));
  pool.release(*b);
  EXPECT_EQ(pool.free_lines(), 100u);
  EXPECT_TRUE(pool.allocate(100));
  RunPool adopted(100);
  EXPECT_TRUE(adopted.reserve({10, 20}));
  EXPECT_FALSE(adopted.reserve({25, 10})) << "shared";
  EXPECT_FALSE(adopted.reserve({95, 10})) << "beyond the pool";
  EXPECT_EQ(adopted.free_lines(), 80u);
}

TEST(index_pool, gives_the_index_that_was_free_for_longest) {
  IndexPool pool(1, 4);
  EXPECT_EQ(pool.allocate(), 1u);
  pool.release(1);
  EXPECT_EQ(pool.allocate(), 2u);
  EXPECT_EQ(pool.allocate(), 3u);
  EXPECT_EQ(pool.allocate(), 1u);
  EXPECT_FALSE(pool.allocate());
}

TEST(translate, affinity_becomes_masks) {
  WantedService wanted;
  wanted.cs_id = 1;
  wanted.affinity.set_source_prefix4(24);
  wanted.affinity.set_source_prefix6(64);
  wanted.affinity.set_ignore_ports(true);
  wanted.affinity.set_timeout_s(10);
  const auto record = service_record(wanted, 250);
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(record->timeout, 2500u);
  EXPECT_EQ(record->source_ignore4, htonl(0xff));
  EXPECT_EQ(record->source_mask.high, ~0ULL);
  EXPECT_EQ(record->source_mask.low, 0u);
  EXPECT_EQ(record->source_port_mask, 0);
  EXPECT_EQ(record->protocol_mask, 0xff);
  const auto plain = service_record(
      WantedService{.service_id = "", .cs_id = 2, .locators = {}, .affinity = {}, .instances = {}, .ring = {}}, 1000);
  EXPECT_EQ(plain->timeout, 300'000u);
  EXPECT_EQ(plain->source_ignore4, 0u);
  EXPECT_EQ(plain->source_port_mask, 0xffff);
}

TEST(translate, wrong_locators_are_refused_with_what_would_be_right) {
  const auto refused = [](const std::string &prefix, const std::string &protocol = "", uint32_t low = 0,
                          uint32_t high = 0) {
    WantedService wanted;
    wanted.service_id = "AR1";
    wanted.cs_id = 1;
    v1::Locator &locator = wanted.locators.emplace_back();
    locator.set_prefix(prefix);
    locator.set_protocol(protocol);
    locator.set_port_min(low);
    locator.set_port_max(high);
    const auto rules = locator_rules(wanted, 0);
    return rules ? std::string("accepted") : rules.error().text();
  };
  EXPECT_EQ(refused("10.99.0.1"), "accepted");
  EXPECT_EQ(refused("0.0.0.0/0"), "accepted");
  EXPECT_EQ(refused("10.99.0.1/24"),
            "locator '10.99.0.1/24' of service AR1 (CS-ID 1) has bits beyond its length\nhint: write 10.99.0.0/24");
  for (const char *wrong : {"10.99.0", "10.99.0.0/33", "10.99.0.0/", "10.99.0.0/2x", "fd00::/129", ""})
    EXPECT_NE(refused(wrong), "accepted") << wrong;
  EXPECT_NE(refused("10.99.0.1", "sctp"), "accepted");
  EXPECT_NE(refused("10.99.0.1", "tcp", 90, 80), "accepted");
  EXPECT_NE(refused("10.99.0.1", "tcp", 70000, 0), "accepted");
}

TEST(refusals, a_missing_feature_is_named_with_the_kernel_that_has_it) {
  const Feature features[] = {{"memory-mapped maps", "5.5", [] { return true; }},
                              {"bpf_timer", "5.15", [] { return false; }},
                              {"bpf_loop", "5.17", [] { return false; }}};
  const Error error = explain_refusal(EINVAL, "libbpf: load failed", features);
  EXPECT_NE(error.what.find("lacks bpf_timer, bpf_loop"), std::string::npos) << error.what;
  EXPECT_NE(error.hint.find("kernel 5.17 or later"), std::string::npos);
}

// Probes for features fail without them, and would name a kernel that is not old.
TEST(refusals, a_missing_capability_is_named_before_features) {
  const Feature features[] = {{"typed tracing programs", "5.5", [] { return false; }}};
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct sets[2] = {};
    sets[0].effective = sets[0].permitted = 1u << CAP_NET_ADMIN;
    sets[1].effective = sets[1].permitted = 1u << (CAP_BPF - 32);
    if (syscall(SYS_capset, &header, sets) != 0) _exit(2);
    _exit(explain_refusal(EINVAL, "", features).what == "cannot load the data plane: the agent lacks CAP_PERFMON" ? 0
                                                                                                                  : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(refusals, lack_of_privilege_and_the_verifier_are_told_apart) {
  EXPECT_NE(explain_refusal(EPERM, "", {}).hint.find("CAP_BPF"), std::string::npos);
  const Error verifier = explain_refusal(EACCES, "prog 'x': BPF program load failed: Permission denied", {});
  EXPECT_NE(verifier.what.find("BPF program load failed"), std::string::npos);
}

// ---- contacts ----

class Contacts : public ::testing::Test {
 protected:
  Contacts() {
    for (const char *name : {"core0", "site0", "port0", "br0", "br0.5"}) {
      Link link;
      link.ifindex = static_cast<uint32_t>(links.size() + 1);
      link.name = name;
      link.up = link.running = true;
      links.push_back(link);
    }
    link("port0").master = link("br0").ifindex;
    link("br0.5").lower = link("br0").ifindex;
  }
  Link &link(const std::string &name) { return *std::ranges::find(links, name, &Link::name); }
  Result<> check(const std::string &out, const std::string &gateway = "") {
    Route route;
    route.ifindex = link(out).ifindex;
    if (!gateway.empty()) route.gateway = *parse_ip(gateway);
    return check_contact("10.2.0.11", route, links, {"site0", "port0"});
  }

  std::vector<Link> links;
};

TEST_F(Contacts, lie_on_a_network_of_a_service_interface) {
  EXPECT_TRUE(check("site0"));
  EXPECT_TRUE(check("br0")) << "the bridge of a service interface";
  EXPECT_TRUE(check("br0.5")) << "a VLAN on it";
  EXPECT_FALSE(check("core0"));
  EXPECT_FALSE(check("site0", "10.2.0.254"));
  const auto nowhere = check_contact("99.99.99.99", std::nullopt, links, {"site0", "port0"});
  ASSERT_FALSE(nowhere);
  EXPECT_NE(nowhere.error().what.find("99.99.99.99 is on no network of a service interface"), std::string::npos);
  EXPECT_EQ(nowhere.error().hint, "give an address on a service interface of this egress (port0, site0)");
}

TEST_F(Contacts, are_not_refused_while_a_service_interface_says_nothing_of_its_networks) {
  link("port0").running = false;
  EXPECT_TRUE(check_contact("10.5.0.11", std::nullopt, links, {"site0", "port0"}));
  link("port0").running = true;
  link("site0").up = false;
  EXPECT_TRUE(check("core0", "172.16.0.1")) << "the default route stands in";
  EXPECT_TRUE(check_contact("10.5.0.11", std::nullopt, links, {"site1"})) << "an interface that is to come";
}

}  // namespace
}  // namespace catsbpf::agent
