// SPDX-License-Identifier: Apache-2.0
// A thousand services with ten instances each: what the programmer itself needs, and how long it takes.
#include <malloc.h>

#include <chrono>

#include "tests/unit/programmer_fixture.h"

namespace catsbpf::agent {
namespace {

constexpr uint32_t kServices = 1000, kInstancesEach = 10;
constexpr size_t kMostHeap = 16u << 20;

std::string address_of(uint32_t cs_id) {
  return "10.99." + std::to_string(cs_id / 250) + "." + std::to_string(1 + cs_id % 250);
}

class ScaleTest : public ProgrammerTest {
 protected:
  ScaleTest() : big(1 << 17, 1 << 10) {}
  FakeDataplane big;
};

TEST_F(ScaleTest, a_thousand_services_and_ten_thousand_instances_fit_a_small_heap) {
  io = std::make_unique<boost::asio::io_context>();
  const size_t before = mallinfo2().uordblks;
  auto opened = Programmer::open(*io, big, next_hops, default_options());
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  programmer = std::move(*opened);
  for (uint32_t cs_id = 1; cs_id <= kServices; ++cs_id) {
    std::vector<uint32_t> instances;
    for (uint32_t i = 0; i < kInstancesEach; ++i) instances.push_back(cs_id * kInstancesEach + i);
    programmer->put_service(service(cs_id, {address_of(cs_id)}, instances, 1021));
  }
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(settle()) << programmer->state();
  const std::chrono::duration<double, std::milli> whole = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(big.flips.size(), 1u);
  EXPECT_EQ(big.broken, std::vector<std::string>{});
  EXPECT_EQ(big.service_at(address_of(777), 6, 80), 777u);
  EXPECT_EQ(big.ring_of(777).size(), 1021u);
  const size_t heap = mallinfo2().uordblks - before;
  EXPECT_LT(heap, kMostHeap);
  std::printf("            all published in %.1f ms (fake checks included), heap %.1f MB\n", whole.count(), heap / 1e6);
  programmer.reset();
}

}  // namespace
}  // namespace catsbpf::agent
