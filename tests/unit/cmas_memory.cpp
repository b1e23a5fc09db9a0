// SPDX-License-Identifier: Apache-2.0
// What 1 000 services and 10 000 rows cost in memory (agent: 60 MB of RSS for all).
#include <gtest/gtest.h>
#include <malloc.h>

#include <cstdio>

#include "cmas/delta_session.h"
#include "cmas/selection.h"
#include "cmas/whole_table.h"

namespace catsbpf::cmas {
namespace {

constexpr uint32_t kServices = 1'000, kRows = 10'000;

// Bytes in use by the heap, 0 where another allocator (a sanitizer's) hides them.
std::size_t heap() { return mallinfo2().uordblks + mallinfo2().hblkhd; }

std::vector<SiteRow> rows() {
  std::vector<SiteRow> out;
  for (uint32_t r = 0; r < kRows; ++r)
    out.push_back({.row = {.key = {1 + r % kServices, 1 + r}, .offered = 8, .cost = 4.5},
                   .service_id = "service-" + std::to_string(r % kServices),
                   .contact = "10.2." + std::to_string(r / 250) + "." + std::to_string(r % 250)});
  return out;
}

v1::Service service(uint32_t cs_id) {
  v1::Service out;
  out.set_service_id("service-" + std::to_string(cs_id));
  out.set_cs_id(cs_id);
  out.set_service_name("a service with a name");
  out.set_service_description("what it does, in a sentence or two of usual length for a catalogue of services");
  for (const char *text : {"standard transport data", "traffic info"}) out.add_input(text);
  for (const char *text : {"CPU >= 4.0 GHz", "GPU >= 200 TOPS"}) out.add_computing_requirement(text);
  out.add_locators()->set_prefix("10.99.0.1");
  out.mutable_computing_time()->set_max_us(1000);
  return out;
}

template <class Fill>
double measure(const char *name, uint32_t count, Fill &&fill) {
  const std::size_t before = heap();
  [[maybe_unused]] const auto kept = fill();
  const double each = static_cast<double>(heap() - before) / count;
  std::printf("%-44s %6.0f bytes each\n", name, each);
  ::testing::Test::RecordProperty(name, std::to_string(each));
  return each;
}

TEST(Memory, tables_of_a_thousand_services_and_ten_thousand_rows_stay_small) {
  if (heap() == 0) GTEST_SKIP() << "this allocator does not count";
  auto site = std::make_shared<SiteTable>();
  double row_at_owner = measure("row at its C-SMA, table", kRows, [&] {
    EXPECT_TRUE(site->replace(rows()).ok());
    site->take_dirty();
    return site;
  });
  DeltaSender sender(*site, 1);
  row_at_owner += measure("row at its C-SMA, per session", kRows, [&] {
    EXPECT_TRUE(sender.next()->has_snapshot());
    return 0;
  });
  sender.restart();
  const auto snapshot = sender.next();
  DeltaReceiver receiver;
  double row_at_selector = measure("row at its C-PS, session", kRows, [&] {
    EXPECT_TRUE(receiver.take(snapshot->snapshot()).ok());
    return 0;
  });
  WholeTable whole;
  row_at_selector += measure("row at its C-PS, whole table", kRows, [&] {
    std::vector<Row> all;
    for (const auto &[key, row] : receiver.rows()) all.push_back(row);
    EXPECT_TRUE(whole.put_rows("f2", "site-2", {"f2"}, all).ok());
    return 0;
  });
  const double per_service = measure("service", kServices, [&] {
    for (uint32_t cs_id = 1; cs_id <= kServices; ++cs_id) whole.put_service(service(cs_id));
    return 0;
  });
  const double per_ring = measure("ring of 10 members", kServices, [&] {
    auto keepers = std::make_shared<std::vector<RingKeeper>>(kServices);
    for (uint32_t cs_id = 1; cs_id <= kServices; ++cs_id)
      (*keepers)[cs_id - 1].update(*ring_members(*whole.service(cs_id), whole.candidates(cs_id)));
    return keepers;
  });
  const double megabytes = (row_at_selector * kRows + (per_service + per_ring) * kServices) / 1e6;
  std::printf("C-PS with %u services and %u rows: %.1f MB\n", kServices, kRows, megabytes);
  EXPECT_LT(row_at_owner, 800);
  EXPECT_LT(row_at_selector, 800);
  EXPECT_LT(megabytes, 20);
}

}  // namespace
}  // namespace catsbpf::cmas
