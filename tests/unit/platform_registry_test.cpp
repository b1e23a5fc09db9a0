// SPDX-License-Identifier: Apache-2.0
// The registry on a real file: rules, revisions, restarts, writers beside each other, damage.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "cmas/platform/registry.h"
#include "cmas/platform/service_check.h"
#include "tests/unit/util_certificates.h"

namespace catsbpf::cmas {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::Service service(const std::string &id, std::uint32_t cs_id, const std::string &prefix = {}) {
  v1::Service service;
  service.set_service_id(id);
  service.set_cs_id(cs_id);
  if (!prefix.empty()) service.add_locators()->set_prefix(prefix);
  return service;
}

void sql(const std::string &file, const std::string &text) {
  sqlite3 *database = nullptr;
  ASSERT_EQ(sqlite3_open(file.c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, text.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(database);
  sqlite3_close(database);
}

class PlatformRegistry : public ::testing::Test {
 protected:
  std::unique_ptr<Registry> open() {
    auto registry = Registry::open(file_);
    EXPECT_TRUE(registry) << registry.error().text();
    return registry ? *std::move(registry) : nullptr;
  }
  std::vector<std::string> ids(Registry &registry, const std::string &search = {}) {
    std::vector<std::string> result;
    const auto catalogue = registry.list(search);
    EXPECT_TRUE(catalogue) << catalogue.error().text();
    for (const auto &one : catalogue->services()) result.push_back(one.service_id());
    return result;
  }
  test::Folder folder_;
  std::string file_ = folder_.file("platform.db");
};

TEST_F(PlatformRegistry, service_comes_back_as_it_was_put) {
  auto registry = open();
  v1::Service whole = service("LB1", 4, "10.99.0.4");
  whole.set_service_name("Live broadcast");
  whole.add_input("Video \"input\"");
  whole.add_input("Ü≥1");
  whole.mutable_computing_time()->set_min_us(500000);
  whole.mutable_computing_time()->set_max_us(3000000);
  whole.mutable_computing_time()->set_parallel_fraction(0.1);
  whole.mutable_locators(0)->set_protocol("tcp");
  whole.mutable_locators(0)->set_port_min(80);
  whole.mutable_policy()->set_a(0.3);
  whole.mutable_sla();  // there, though empty
  const auto put = registry->put(whole);
  ASSERT_TRUE(put) << put.error().text();
  EXPECT_TRUE(put->created);
  whole.set_revision(1);
  EXPECT_EQ((*registry->get("LB1"))->SerializeAsString(), whole.SerializeAsString());
  EXPECT_EQ((*registry->get("4"))->service_id(), "LB1");
  EXPECT_FALSE(registry->get("LB2")->has_value());
}

TEST_F(PlatformRegistry, revision_grows_with_changes_only_and_survives_a_restart) {
  auto registry = open();
  EXPECT_EQ(*registry->revision(), 0u);
  EXPECT_TRUE(registry->put(service("A", 1)));
  EXPECT_TRUE(registry->put(service("B", 2)));
  const auto again = registry->put(service("A", 1));
  EXPECT_FALSE(again->changed);
  EXPECT_EQ(again->service.revision(), 1u);
  EXPECT_TRUE(registry->remove("B"));
  EXPECT_EQ(*registry->revision(), 3u);
  registry.reset();
  registry = open();
  EXPECT_EQ(*registry->revision(), 3u);
  EXPECT_THAT(ids(*registry), ElementsAre("A"));
  EXPECT_EQ(registry->put(service("C", 3))->service.revision(), 4u);
}

TEST_F(PlatformRegistry, refuses_a_bad_service_with_all_problems_at_once) {
  auto registry = open();
  v1::Service bad = service("1bad id", 0, "10.99.0");
  bad.mutable_policy()->set_ring("best");
  bad.mutable_policy()->set_request("nearest");
  bad.mutable_computing_time()->set_min_us(5);
  bad.set_service_name("red \x1b[31m");
  const auto put = registry->put(bad);
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().code, EINVAL);
  for (const char *part : {"service_id: '1bad id' is not a name", "cs_id: is missing or 0",
                           "locators[0].prefix: '10.99.0' is not an address", "policy.ring: 'best' is not known",
                           "policy.request: 'nearest' is not known", "computing_time.max_us: is missing",
                           "service_name: has control characters"})
    EXPECT_THAT(put.error().what, HasSubstr(part));
  EXPECT_THAT(put.error().hint, HasSubstr("use closest-cost, cheapest or fastest"));
  EXPECT_EQ(*registry->revision(), 0u);
}

TEST_F(PlatformRegistry, refuses_what_collides_and_names_the_other) {
  auto registry = open();
  EXPECT_TRUE(registry->put(service("AR1", 1, "10.99.0.1")));
  const auto number = registry->put(service("X", 1));
  EXPECT_EQ(number.error().what, "service X is refused: cs_id: 1 belongs to service AR1");
  EXPECT_EQ(number.error().code, EEXIST);
  auto web = service("X", 2, "10.99.0.1/32");
  web.mutable_locators(0)->set_protocol("tcp");
  web.mutable_locators(0)->set_port_min(80);
  EXPECT_EQ(registry->put(web).error().what,
            "service X is refused: locators: 10.99.0.1/32 tcp 80 (there: 10.99.0.1) is claimed by service AR1");
  EXPECT_TRUE(registry->put(service("X", 2, "10.99.0.0/24")));  // the longer prefix wins
  EXPECT_TRUE(registry->put(service("AR1", 1, "10.99.0.1")));   // not with itself
}

TEST_F(PlatformRegistry, expected_revision_guards_against_lost_changes) {
  auto registry = open();
  EXPECT_TRUE(registry->put(service("A", 1)));
  EXPECT_TRUE(registry->put(service("A", 2), 1));
  const auto late = registry->put(service("A", 3), 1);
  EXPECT_EQ(late.error().what, "service A is at revision 2, not at 1");
  EXPECT_EQ(late.error().code, ESTALE);
  EXPECT_EQ(registry->remove("A", 1).error().code, ESTALE);
  EXPECT_EQ(registry->remove("B").error().code, ENOENT);
  EXPECT_TRUE(registry->remove("A", 2));
}

TEST_F(PlatformRegistry, search_finds_services_with_every_word_in_any_letter_case) {
  auto registry = open();
  auto live = service("LB1", 4);
  live.set_service_name("Live broadcast");
  live.add_software_dependency("FFmpeg");
  EXPECT_TRUE(registry->put(live));
  EXPECT_TRUE(registry->put(service("AR1", 1)));
  EXPECT_THAT(ids(*registry), ElementsAre("AR1", "LB1"));
  EXPECT_THAT(ids(*registry, "ffmpeg LIVE"), ElementsAre("LB1"));
  EXPECT_THAT(ids(*registry, "ffmpeg nothing"), ElementsAre());
  EXPECT_THAT(ids(*registry, "%"), ElementsAre());
}

TEST_F(PlatformRegistry, changes_tell_the_latest_of_each_service_in_order) {
  auto registry = open();
  for (const char *id : {"A", "B", "C"}) EXPECT_TRUE(registry->put(service(id, static_cast<std::uint32_t>(id[0]))));
  EXPECT_TRUE(registry->remove("B"));
  EXPECT_TRUE(registry->put(service("A", 7)));
  const auto changes = registry->changes_after(1, 100);
  ASSERT_TRUE(changes->known);
  ASSERT_EQ(changes->changes.size(), 3u);
  EXPECT_EQ(changes->changes[0].put().service_id(), "C");
  EXPECT_EQ(changes->changes[1].removed(), "B");
  EXPECT_EQ(changes->changes[2].put().cs_id(), 7u);
  EXPECT_EQ(changes->changes[2].revision(), 5u);
  EXPECT_EQ(registry->changes_after(1, 2)->changes.size(), 2u);
  EXPECT_TRUE(registry->changes_after(5, 100)->changes.empty());
  EXPECT_FALSE(registry->changes_after(6, 100)->known);  // a revision of another registry
}

TEST_F(PlatformRegistry, forgets_old_removals_and_says_so) {
  auto registry = open();
  sql(file_,
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1005) INSERT INTO removals SELECT i, "
      "'X' FROM n;"
      "UPDATE counters SET value = 1005 WHERE name = 'revision'");
  EXPECT_TRUE(registry->put(service("A", 1)));
  EXPECT_TRUE(registry->remove("A"));  // revision 1007: 1000 removals are kept
  EXPECT_FALSE(registry->changes_after(3, 10)->known);
  EXPECT_TRUE(registry->changes_after(900, 10)->known);
}

TEST_F(PlatformRegistry, import_is_all_or_nothing) {
  auto registry = open();
  EXPECT_TRUE(registry->put(service("A", 1)));
  EXPECT_FALSE(registry->import({service("B", 2), service("C", 1)}));
  EXPECT_THAT(ids(*registry), ElementsAre("A"));
  const auto import = registry->import({service("A", 1), service("B", 2), service("C", 3)});
  ASSERT_TRUE(import) << import.error().text();
  EXPECT_EQ(import->created, 2u);
  EXPECT_EQ(import->unchanged, 1u);
  EXPECT_EQ(*registry->revision(), 3u);
}

TEST_F(PlatformRegistry, writers_beside_each_other_lose_nothing) {
  open();
  constexpr int kWriters = 4, kEach = 10;
  std::vector<std::thread> writers;
  for (int writer = 0; writer < kWriters; ++writer)
    writers.emplace_back([&, writer] {
      auto registry = Registry::open(file_);
      ASSERT_TRUE(registry) << registry.error().text();
      for (int i = 0; i < kEach; ++i) {
        const auto number = static_cast<std::uint32_t>(1 + writer * kEach + i);
        const auto put = (*registry)->put(service("S" + std::to_string(number), number));
        EXPECT_TRUE(put) << put.error().text();
      }
    });
  for (auto &writer : writers) writer.join();
  auto registry = open();
  EXPECT_EQ(*registry->revision(), static_cast<std::uint64_t>(kWriters * kEach));
  const auto changes = registry->changes_after(0, 1000);
  ASSERT_EQ(changes->changes.size(), static_cast<std::size_t>(kWriters * kEach));
  for (std::size_t i = 0; i < changes->changes.size(); ++i) EXPECT_EQ(changes->changes[i].revision(), i + 1);
}

TEST_F(PlatformRegistry, files_that_are_no_registry_are_refused_in_words) {
  std::ofstream(file_) << "this is not a database, though it is long enough to look at";
  auto refused = Registry::open(file_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().what, "registry " + file_ + ": file is not a database");
  EXPECT_THAT(refused.error().hint, HasSubstr("move it away"));

  ::unlink(file_.c_str());
  sql(file_, "CREATE TABLE other (x)");
  EXPECT_EQ(Registry::open(file_).error().what, "registry " + file_ + ": is a database of another program");

  ::unlink(file_.c_str());
  open();
  sql(file_, "PRAGMA user_version = 2");
  refused = Registry::open(file_);
  EXPECT_EQ(refused.error().what, "registry " + file_ + ": has schema version 2, this program knows version 1");
  EXPECT_THAT(Registry::open(folder_.file("none/platform.db")).error().what, HasSubstr("unable to open database file"));
}

TEST_F(PlatformRegistry, damaged_file_is_refused) {
  {
    auto registry = open();
    for (std::uint32_t i = 1; i <= 200; ++i) {
      auto one = service("S" + std::to_string(i), i);
      one.set_service_description(std::string(500, 'x'));
      ASSERT_TRUE(registry->put(one));
    }
  }
  sql(file_, "PRAGMA wal_checkpoint(TRUNCATE)");
  std::fstream file(file_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096);
  for (int i = 0; i < 65536; ++i) file.put('\xa5');
  file.close();
  const auto refused = Registry::open(file_);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().what, HasSubstr("registry " + file_ + ": "));
  EXPECT_THAT(refused.error().hint, HasSubstr("restore it from a copy"));
}

TEST(ServiceCheck, locators_are_checked) {
  const auto reasons = [](const std::string &prefix, const std::string &protocol, std::uint32_t port_min,
                          std::uint32_t port_max) {
    v1::Service one = service("A", 1, prefix);
    one.mutable_locators(0)->set_protocol(protocol);
    one.mutable_locators(0)->set_port_min(port_min);
    one.mutable_locators(0)->set_port_max(port_max);
    std::string all;
    for (const auto &problem : check(one)) all += problem.field + ": " + problem.reason + "; ";
    return all;
  };
  EXPECT_EQ(reasons("10.99.0.1", "", 0, 0), "");
  EXPECT_EQ(reasons("fd00:99::/64", "udp", 1, 65535), "");
  EXPECT_THAT(reasons("10.99.0.1/24", "", 0, 0), HasSubstr("bits set behind its length"));
  EXPECT_THAT(reasons("10.99.0.1/33", "", 0, 0), HasSubstr("is not an address or a prefix"));
  for (const char *special : {"0.0.0.0/0", "::/0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255", "::1",
                              "::", "fe80::1", "ff02::1", "::ffff:10.0.0.1"})
    EXPECT_NE(reasons(special, "", 0, 0), "") << special;
  EXPECT_THAT(reasons("10.99.0.1", "sctp", 0, 0), HasSubstr("'sctp' is not known"));
  EXPECT_THAT(reasons("10.99.0.1", "tcp", 70000, 0), HasSubstr("larger than 65535"));
  EXPECT_THAT(reasons("10.99.0.1", "tcp", 90, 80), HasSubstr("80 is below port_min 90"));
  EXPECT_THAT(reasons("10.99.0.1", "", 80, 0), HasSubstr("protocol: is missing beside ports"));
  auto twice = service("A", 1, "10.99.0.1");
  twice.add_locators()->set_prefix("10.99.0.1/32");
  ASSERT_EQ(check(twice).size(), 1u);
  EXPECT_EQ(check(twice)[0].reason, "claims the same packets as locators[0]");
}

TEST(ServiceCheck, locators_meet_by_prefix_protocol_and_ports) {
  const auto with = [](const std::string &protocol, std::uint32_t low, std::uint32_t high) {
    auto one = service("A", 1, "10.99.0.1");
    one.mutable_locators(0)->set_protocol(protocol);
    one.mutable_locators(0)->set_port_min(low);
    one.mutable_locators(0)->set_port_max(high);
    return one;
  };
  EXPECT_TRUE(conflict(with("tcp", 80, 90), with("tcp", 90, 0)));
  EXPECT_TRUE(conflict(with("", 0, 0), with("udp", 5, 0)));
  EXPECT_FALSE(conflict(with("tcp", 80, 89), with("tcp", 90, 0)));
  EXPECT_FALSE(conflict(with("tcp", 80, 0), with("udp", 80, 0)));
  EXPECT_FALSE(conflict(with("", 0, 0), service("B", 2, "10.99.0.2")));
}

}  // namespace
}  // namespace catsbpf::cmas
