// SPDX-License-Identifier: Apache-2.0
// The C-SMA's file: what is committed survives SIGKILL, what is not ours is not touched.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "agent/service_metrics/store.h"
#include "tests/unit/full_disk.h"
#include "tests/unit/util_certificates.h"

namespace catsbpf::test {
namespace {

using namespace std::chrono_literals;
using agent::Store;
using cmas::SiteTable;
using ::testing::AllOf;
using ::testing::HasSubstr;

class StoreTest : public ::testing::Test {
 protected:
  std::unique_ptr<Store> open(const std::string &site = "site-2") {
    auto store = Store::open(path_, site);
    EXPECT_TRUE(store) << store.error().text();
    return store ? std::move(*store) : nullptr;
  }
  Error refused(const std::string &site = "site-2") {
    auto store = Store::open(path_, site);
    EXPECT_FALSE(store);
    return store ? Error{} : store.error();
  }
  uint64_t load(Store &store, SiteTable &table) {
    const auto now = cmas::Clock::now();
    const auto wall_now = std::chrono::system_clock::now();
    const auto epoch = store.load(table, now, wall_now);
    EXPECT_TRUE(epoch) << epoch.error().text();
    if (!epoch) return 0;
    agent::Unsaved all;
    for (const auto &[reservation, entry] : table.ledger()) all.reservations.insert(reservation);
    const auto begun = store.begin(*epoch, Store::collect(table, all, now, wall_now));
    EXPECT_TRUE(begun) << begun.error().text();
    return *epoch;
  }
  static Result<> save(Store &store, SiteTable &table, std::set<uint64_t> reservations = {}) {
    const auto dirty = table.take_dirty();
    agent::Unsaved unsaved{dirty.changed, std::move(reservations)};
    unsaved.rows.insert(dirty.removed.begin(), dirty.removed.end());
    return store.save(Store::collect(table, unsaved, cmas::Clock::now(), std::chrono::system_clock::now()));
  }
  static cmas::SiteRow row(uint32_t csci_id, uint32_t offered) {
    cmas::SiteRow row;
    row.row.key = {1, csci_id};
    row.row.offered = offered;
    row.row.cost = 0.1;
    row.row.egresses = {"f2", "f3"};
    row.service_id = "AR1";
    row.contact = "10.2.0.11";
    return row;
  }
  void sql(const char *text) {
    sqlite3 *database = nullptr;
    ASSERT_EQ(sqlite3_open(path_.c_str(), &database), SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(database, text, nullptr, nullptr, nullptr), SQLITE_OK);
    sqlite3_close(database);
  }

  std::string bytes() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  Folder folder_;
  std::string path_ = folder_.file("site.db");
};

TEST_F(StoreTest, committed_rows_and_leases_survive_sigkill) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto store = Store::open(path_, "site-2");
    SiteTable table;
    bool good = store.ok() && (*store)->load(table, cmas::Clock::now(), std::chrono::system_clock::now()).ok();
    good = good && table.replace({row(1, 8), row(2, 4)}).ok() &&
           table.reserve(11, {1, 1}, 2, 60s, cmas::Clock::now()).ok() &&
           table.reserve(0xffff'ffff'ffff'fff0, {1, 1}, 1, 60s, cmas::Clock::now()).ok() &&
           save(**store, table, {11, 0xffff'ffff'ffff'fff0}).ok();
    const char told = good ? '+' : '-';
    if (::write(ready[1], &told, 1) == 1) ::pause();
    ::_exit(1);
  }
  char told = 0;
  ASSERT_EQ(::read(ready[0], &told, 1), 1);
  ASSERT_EQ(told, '+');
  ::kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  ::close(ready[0]);
  ::close(ready[1]);

  SiteTable table;
  auto store = open();
  ASSERT_TRUE(store);
  load(*store, table);
  ASSERT_EQ(table.rows().size(), 2u);
  cmas::SiteRow expected = row(1, 8);
  expected.row.in_use = 3;
  EXPECT_EQ(table.rows().at({1, 1}), expected);
  ASSERT_EQ(table.ledger().size(), 2u);
  EXPECT_EQ(table.oldest_reservation({1, 1}), 11u);
  const auto left = table.ledger().at(11).expires - cmas::Clock::now();
  EXPECT_LE(left, 60s);
  EXPECT_GT(left, 50s);
}

TEST_F(StoreTest, epoch_grows_with_each_life_and_after_loss_of_the_file) {
  SiteTable one, two, three;
  const auto first = load(*open(), one);
  const auto second = load(*open(), two);
  EXPECT_GT(second, first);
  std::filesystem::remove(path_);
  std::filesystem::remove(path_ + "-wal");
  EXPECT_GE(load(*open(), three) + 1, second) << "by the wall clock";
}

TEST_F(StoreTest, order_of_reservations_survives_many_restarts) {
  SiteTable table;
  auto store = open();
  load(*store, table);
  ASSERT_TRUE(table.replace({row(1, 10)}));
  for (const uint64_t id : {50, 40, 30}) ASSERT_TRUE(table.reserve(id, {1, 1}, 1, 60s, cmas::Clock::now()));
  ASSERT_TRUE(table.release(50));
  ASSERT_TRUE(save(*store, table, {50, 40, 30}));
  for (const uint64_t next : {20, 10}) {
    store.reset();
    store = open();
    SiteTable again;
    load(*store, again);
    EXPECT_EQ(again.oldest_reservation({1, 1}), 40u);
    ASSERT_TRUE(again.reserve(next, {1, 1}, 1, 60s, cmas::Clock::now()));
    ASSERT_TRUE(save(*store, again, {next}));
  }
}

TEST_F(StoreTest, second_agent_on_the_same_file_is_refused) {
  const auto first = open();
  const auto error = refused();
  EXPECT_THAT(error.what, HasSubstr(path_));
  EXPECT_THAT(error.hint, HasSubstr("another agent"));
}

TEST_F(StoreTest, other_schema_version_is_refused_and_left_alone) {
  open().reset();
  sql("PRAGMA user_version = 9");
  const auto error = refused();
  EXPECT_THAT(error.what, HasSubstr("schema version 9"));
  EXPECT_THAT(refused().what, HasSubstr("schema version 9")) << "nothing was changed";
}

TEST_F(StoreTest, file_of_schema_1_is_taken_over_with_its_reservations) {
  {
    SiteTable table;
    auto store = open();
    load(*store, table);
    ASSERT_TRUE(table.replace({row(1, 8)}));
    ASSERT_TRUE(table.reserve(11, {1, 1}, 2, 60s, cmas::Clock::now()));
    ASSERT_TRUE(save(*store, table, {11}));
  }
  sql("ALTER TABLE reservations DROP COLUMN holder; PRAGMA user_version = 1");
  {
    SiteTable table;
    auto store = open();
    load(*store, table);
    ASSERT_EQ(table.ledger().size(), 1u);
    EXPECT_EQ(table.ledger().at(11).holder, "");
    ASSERT_TRUE(table.reserve(12, {1, 1}, 1, 60s, cmas::Clock::now(), "f1"));
    ASSERT_TRUE(save(*store, table, {12}));
  }
  SiteTable table;
  load(*open(), table);
  EXPECT_EQ(table.ledger().at(12).holder, "f1");
  EXPECT_EQ(table.rows().at({1, 1}).row.in_use, 3u);
}

TEST_F(StoreTest, database_of_another_program_is_refused) {
  sql("CREATE TABLE cookies (name TEXT)");
  EXPECT_THAT(refused().what, HasSubstr("another program"));
}

TEST_F(StoreTest, file_that_is_no_database_is_refused) {
  std::ofstream(path_) << std::string(4096, 'x');
  const auto error = refused();
  EXPECT_THAT(error.what, HasSubstr(path_));
  EXPECT_FALSE(error.hint.empty());
}

TEST_F(StoreTest, damaged_page_is_called_so_and_the_file_is_kept) {
  {
    SiteTable table;
    auto store = open();
    load(*store, table);
    ASSERT_TRUE(table.replace({row(1, 8)}));
    ASSERT_TRUE(save(*store, table));
  }
  const auto whole = bytes();
  constexpr std::size_t kPage = 4096;
  ASSERT_GT(whole.size(), kPage);
  ASSERT_EQ(whole.size() % kPage, 0u);
  for (std::size_t page = kPage; page < whole.size(); page += kPage)
    for (const char filling : {'\0', 'x'}) {
      auto broken = whole;
      std::fill_n(broken.begin() + static_cast<std::ptrdiff_t>(page), kPage, filling);
      std::ofstream(path_, std::ios::binary) << broken;
      const auto error = refused();
      EXPECT_THAT(error.what, HasSubstr(path_ + " is damaged: ")) << "page at " << page;
      EXPECT_THAT(error.hint, AllOf(HasSubstr("move it away"), HasSubstr("lost are the reservations")));
      EXPECT_TRUE(bytes() == broken) << "somebody may look at it";
    }
}

TEST_F(StoreTest, file_that_names_no_site_is_damaged) {
  open().reset();
  for (const char *change :
       {"UPDATE meta SET value = '' WHERE name = 'site'", "DELETE FROM meta WHERE name = 'site'"}) {
    sql(change);
    EXPECT_EQ(refused().what, path_ + " is damaged: it names no site");
  }
}

TEST_F(StoreTest, rows_that_nobody_could_have_put_are_damage) {
  for (const char *values :
       {"(1, 1, 'AR1', 8, 1.5, 0, 0, 'f2', '', '')", "(1, 1, 'AR1', 99999999, 1.5, 0, 0, '[]', '', '')"}) {
    open().reset();
    sql(("INSERT OR REPLACE INTO rows VALUES " + std::string(values)).c_str());
    SiteTable table;
    const auto loaded = open()->load(table, cmas::Clock::now(), std::chrono::system_clock::now());
    ASSERT_FALSE(loaded);
    EXPECT_THAT(loaded.error().what, HasSubstr(path_ + " is damaged: "));
  }
}

TEST_F(StoreTest, rows_of_another_site_are_refused) {
  open("site-2").reset();
  EXPECT_THAT(refused("site-3").what, HasSubstr("site-2"));
}

TEST_F(StoreTest, folder_that_is_not_there_is_named) {
  path_ = folder_.file("missing/site.db");
  const auto error = refused();
  EXPECT_THAT(error.what, HasSubstr("missing/site.db"));
  EXPECT_THAT(error.hint, HasSubstr("folder"));
}

TEST_F(StoreTest, full_disk_is_named_and_leaves_what_was_stored) {
  FullDisk disk;
  SiteTable table;
  auto store = open();
  load(*store, table);
  ASSERT_TRUE(table.replace({row(1, 8)}));
  ASSERT_TRUE(save(*store, table));
  disk.fill();
  ASSERT_TRUE(table.apply({1, 1}, {.gas = 3}));
  const auto saved = save(*store, table);
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().what, "cannot write to " + path_ + ": No space left on device");
  EXPECT_EQ(saved.error().code, ENOSPC);
  EXPECT_THAT(saved.error().hint, HasSubstr("make room"));
  store.reset();
  disk.fill(false);
  SiteTable again;
  load(*open(), again);
  EXPECT_EQ(again.rows().at({1, 1}).row.offered, 8u);
}

TEST_F(StoreTest, removed_rows_and_ended_reservations_are_gone) {
  SiteTable table;
  auto store = open();
  load(*store, table);
  ASSERT_TRUE(table.replace({row(1, 8), row(2, 8)}));
  ASSERT_TRUE(table.reserve(5, {1, 1}, 1, 60s, cmas::Clock::now()));
  ASSERT_TRUE(save(*store, table, {5}));
  ASSERT_TRUE(table.apply({1, 2}, {.remove = true}));
  ASSERT_TRUE(table.release(5));
  ASSERT_TRUE(save(*store, table, {5}));
  store.reset();
  store = open();
  SiteTable again;
  load(*store, again);
  EXPECT_EQ(again.rows().size(), 1u);
  EXPECT_TRUE(again.ledger().empty());
}

}  // namespace
}  // namespace catsbpf::test
