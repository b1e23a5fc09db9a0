// SPDX-License-Identifier: Apache-2.0
// The flow table: full lines, expiry, and two CPUs at once against a model.
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <map>
#include <thread>

#include "tests/prog/world.h"

namespace catsbpf::test {
namespace {

struct Entry {
  maps::flow_entry *entry;
  maps::flow_record *record;
};

std::vector<Entry> used_entries(Plane &plane) {
  std::vector<Entry> used;
  for (size_t i = 0; i < plane.records().size(); ++i) {
    auto &entry = plane.flows()[i / FLOW_LINE_ENTRIES].entry[i % FLOW_LINE_ENTRIES];
    if (entry.word) used.push_back({&entry, &plane.records()[i]});
  }
  return used;
}

void expect_consistent(Plane &plane) {
  std::map<std::tuple<uint64_t, uint16_t, std::string>, int> seen;
  const auto used = used_entries(plane);
  for (const Entry &e : used) {
    EXPECT_EQ(e.record->word, e.entry->word);
    EXPECT_EQ(e.entry->word >> FLOW_STATE_SHIFT & FLOW_STATE_TENTATIVE, 0u);
    EXPECT_EQ(e.entry->word >> FLOW_STATE_SHIFT & FLOW_STATE_USED, FLOW_STATE_USED);
    EXPECT_GE(maps::flow_packets(e.entry->seen, e.record->packets), 1u);
    const std::string addresses(reinterpret_cast<const char *>(&e.record->source), 32);
    EXPECT_EQ(++seen[std::make_tuple(e.entry->word >> FLOW_TAG_SHIFT, e.record->source_port, addresses)], 1)
        << "flow stands twice";
  }
  const auto counters = plane.flow_counters();
  EXPECT_EQ(counters.inserted - counters.expired - counters.displaced, used.size());
}

// Runs `body(cpu)` on two threads, pinned to two CPUs where there are two.
template <class Body>
void on_two_cpus(Body body) {
  const unsigned cpus = std::max(1u, std::thread::hardware_concurrency());
  auto pinned = [&](unsigned i) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(i % cpus, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    body(i);
  };
  std::thread first(pinned, 0), second(pinned, 1);
  first.join();
  second.join();
}

// Two lines: every flow has the same two candidates, eight places.
class FullLines : public World {
 protected:
  FullLines() : World(2) {}
  void fill() {
    for (uint16_t port = 1; port <= 8; ++port) ASSERT_NE(chosen(udp(port)), 0u);
    ASSERT_EQ(plane.live_flows(), 8u);
  }
  bool holds(uint16_t port) {
    for (const Entry &e : used_entries(plane))
      if (e.record->source_port == htons(port)) return true;
    return false;
  }
  void age(uint16_t port, uint32_t seconds, uint32_t packets) {
    for (const Entry &e : used_entries(plane))
      if (e.record->source_port == htons(port)) {
        e.record->created -= seconds * plane.control().hz;
        e.entry->seen = (e.entry->seen & ~0xffffffffULL) | packets;
      }
  }
};

TEST_F(FullLines, youngest_unprotected_flow_makes_room) {
  fill();
  for (uint16_t port = 1; port <= 8; ++port) age(port, port == 5 ? 1 : 9, 100);
  EXPECT_NE(chosen(udp(100)), 0u);
  EXPECT_FALSE(holds(5));
  EXPECT_TRUE(holds(100));
  EXPECT_EQ(plane.flow_counters().displaced, 1u);
  expect_consistent(plane);
}

TEST_F(FullLines, old_flow_with_few_packets_is_not_protected) {
  fill();
  for (uint16_t port = 1; port <= 8; ++port) age(port, 60, port == 3 ? 7 : 8);
  EXPECT_NE(chosen(udp(100)), 0u);
  EXPECT_FALSE(holds(3));
}

TEST_F(FullLines, protected_flows_stay_and_the_new_one_follows_the_ring_untracked) {
  fill();
  for (uint16_t port = 1; port <= 8; ++port) age(port, 10, 8);
  std::vector<uint32_t> before;
  for (uint16_t port = 1; port <= 8; ++port) before.push_back(chosen(udp(port)));
  for (uint16_t port = 1000; port < 3000; ++port) EXPECT_NE(chosen(udp(port)), 0u);
  for (uint16_t port = 1; port <= 8; ++port) EXPECT_EQ(chosen(udp(port)), before[port - 1]);
  EXPECT_EQ(plane.flow_counters().refused, 2000u);
  EXPECT_EQ(plane.flow_counters().displaced, 0u);
  expect_consistent(plane);
}

TEST_F(FullLines, expired_flow_makes_room_before_any_other) {
  fill();
  for (const Entry &e : used_entries(plane))
    if (e.record->source_port == htons(7)) {
      e.record->created -= 60 * plane.control().hz;
      e.entry->seen = ((e.entry->seen - (uint64_t{400'000} << 32)) & ~0xffffffffULL) | 100;
    }
  EXPECT_NE(chosen(udp(100)), 0u);
  EXPECT_FALSE(holds(7));
  EXPECT_EQ(plane.flow_counters().displaced, 0u);
  EXPECT_EQ(plane.flow_counters().expired, 1u);
}

// Another CPU enters the flow and takes its entry back, again and again, as one that loses a race does: a packet that
// finds the entry in one look and not in the next is placed all the same.
TEST_F(FullLines, entry_that_goes_between_two_looks_leaves_no_packet_without_an_instance) {
  publish_ring({1});
  ASSERT_EQ(chosen(udp()), 1u);
  auto &word = used_entries(plane).at(0).entry->word;
  const auto lives = word, tentative = lives | FLOW_STATE_TENTATIVE << FLOW_STATE_SHIFT;
  std::atomic<bool> done{false};
  int lost = 0;
  on_two_cpus([&](unsigned cpu) {
    if (cpu == 1) {
      while (!done) {
        __atomic_store_n(&word, tentative, __ATOMIC_RELAXED);
        __atomic_store_n(&word, 0, __ATOMIC_RELAXED);
      }
      return;
    }
    const Bytes frame = from_client(ip(udp()));
    Bytes output;
    for (int packet = 0; packet < 200'000; ++packet) {
      lost += Plane::run(plane.xdp_program(), frame, output) != XDP_REDIRECT;
      for (maps::flow_line &line : plane.flows())
        for (maps::flow_entry &entry : line.entry)
          if (&entry.word != &word) entry.word = 0;
    }
    done = true;
  });
  EXPECT_EQ(lost, 0);
}

class FlowTable : public World {};

TEST_F(FlowTable, new_flows_go_into_the_emptier_line) {
  for (uint32_t port = 1; port <= 1800; ++port)
    chosen(udp(static_cast<uint16_t>(port)));  // of 4096; at 2048 one key in fifty has a flow without a place
  EXPECT_EQ(plane.live_flows(), 1800u);
  EXPECT_EQ(plane.flow_counters().displaced + plane.flow_counters().refused, 0u);
  expect_consistent(plane);
}

// The maker of a tentative entry is still to write its record; whoever moved the entry meanwhile would make the record
// of the flow that had the place before valid for this one.
TEST_F(FlowTable, a_tentative_entry_is_moved_when_its_maker_is_done) {
  publish_ring({1});
  ASSERT_EQ(chosen(udp()), 1u);
  const Entry flow = used_entries(plane).at(0);
  const uint64_t definite = flow.entry->word, tentative = definite | FLOW_STATE_TENTATIVE << FLOW_STATE_SHIFT;
  const uint64_t predecessor = ~definite;
  flow.entry->word = tentative;
  flow.record->word = predecessor;
  plane.instance_at(1).state = maps::INSTANCE_DEAD;
  publish_ring({2});
  EXPECT_EQ(chosen(udp()), 3u);
  EXPECT_EQ(flow.entry->word, tentative);
  EXPECT_EQ(flow.record->word, predecessor);

  flow.record->word = flow.entry->word = definite;  // the maker is done
  EXPECT_EQ(chosen(udp()), 3u);
  EXPECT_EQ(flow.entry->word & FLOW_SLOT_MASK, 2u);
  EXPECT_EQ(plane.flow_counters().moved, 1u);
  expect_consistent(plane);
}

TEST_F(FlowTable, sweep_frees_idle_flows_and_folds_packets_of_live_ones) {
  auto service = service_one({1});
  service.timeout = 3600 * plane.control().hz;
  plane.services({service});
  plane.publish();
  for (int i = 0; i < 20; ++i) chosen(udp(1));
  chosen(udp(2));
  for (const Entry &e : used_entries(plane))
    if (e.record->source_port == htons(2)) e.entry->seen -= uint64_t{7200 * plane.control().hz} << 32;
  ASSERT_EQ(plane.sweep_start(), 0);
  ASSERT_EQ(plane.sweep_start(), 0);  // again, as a program that replaces another does
  const uint64_t passes_at_start = plane.sweep().passes;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  // Flow 2's line may be swept before flow 1's.
  const auto swept = [&] { return plane.live_flows() == 1 && used_entries(plane)[0].record->packets >= 20; };
  while (!swept() && std::chrono::steady_clock::now() < deadline) {
    chosen(udp(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  ASSERT_EQ(plane.live_flows(), 1u);
  EXPECT_EQ(plane.flow_counters().expired, 1u);
  const Entry kept = used_entries(plane)[0];
  EXPECT_EQ(kept.record->source_port, htons(1));
  EXPECT_GE(kept.record->packets, 20u);
  EXPECT_EQ(maps::flow_packets(kept.entry->seen, kept.record->packets), plane.instance_packets(1) - 1);
  const auto lines = static_cast<uint32_t>(plane.flows().size());
  EXPECT_EQ(plane.sweep().lines, (lines - 1) / SWEEP_TICKS_PER_PASS + 1);
  EXPECT_LE(plane.sweep().passes - passes_at_start, 4u);
}

class BigTable : public World {
 protected:
  BigTable() : World(1 << 15) {}
};

// Both CPUs meet the same new flows at the same time while the ring changes under them: each flow has
// one entry and one instance for ever.
TEST_F(BigTable, racing_inserts_of_one_flow_agree_on_its_instance) {
  constexpr int kFlows = 30000, kPackets = 4;
  std::atomic<int> arrived{0};
  std::atomic<bool> done{false};
  std::vector<std::vector<uint32_t>> instance(2, std::vector<uint32_t>(kFlows, 0));
  std::atomic<int> changes{0}, wrong{0};
  std::thread rings([&] {
    for (uint16_t i = 0; !done; ++i, std::this_thread::yield()) publish_ring({static_cast<uint16_t>(i % 2 + 1)});
  });
  on_two_cpus([&](unsigned cpu) {
    Bytes output;
    for (int flow = 0; flow < kFlows; ++flow) {
      const Bytes frame = from_client(ip(udp(static_cast<uint16_t>(flow + 1))));
      ++arrived;
      while (arrived < 2 * (flow + 1)) {
      }
      // One before the other, by more and more, then less and less.
      for (int wait = cpu ? flow % 1024 : 512; wait > 0; --wait) std::atomic_signal_fence(std::memory_order_seq_cst);
      for (int packet = 0; packet < kPackets; ++packet) {
        if (Plane::run(plane.xdp_program(), frame, output) != XDP_REDIRECT) {
          ++wrong;
          continue;
        }
        uint32_t &known = instance[cpu][static_cast<size_t>(flow)];
        const uint32_t now = read32(output, 62);
        if (known && known != now) ++changes;
        known = now;
      }
    }
  });
  done = true;
  rings.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(changes, 0);
  EXPECT_EQ(instance[0], instance[1]);
  EXPECT_EQ(plane.flow_counters().inserted, plane.live_flows());
  RecordProperty("raced", static_cast<int>(plane.flow_counters().raced));  // a busy machine may have none
  EXPECT_EQ(plane.live_flows(), static_cast<size_t>(kFlows));
  expect_consistent(plane);
}

// Inserts, evictions, moves and sweeps at once in a table far too small. Flows expire when the test says so, however
// long it takes.
class SmallTable : public World {
 protected:
  SmallTable() : World(8) {}

  // The protected flows are in the table, and stay where they are.
  void protect() {
    for (uint16_t port = 60001; port <= 60006; ++port) of_protected.push_back(chosen(udp(port)));
    for (const Entry &e : used_entries(plane)) {
      e.record->created -= 60 * plane.control().hz;
      e.entry->seen |= 100;
      kept.insert(e.entry);
    }
  }
  bool is_expired(const maps::flow_entry &entry) const {
    return entry.word && static_cast<uint32_t>(entry.seen >> 32) - long_ago < 3600 * hz;
  }
  void expire(maps::flow_entry &entry) const {
    if (!kept.contains(&entry))
      __atomic_store_n(&entry.seen, static_cast<uint64_t>(long_ago) << 32 | 1, __ATOMIC_RELAXED);
  }
  template <class Do>
  void each_entry(Do what) {
    for (maps::flow_line &line : plane.flows())
      for (maps::flow_entry &entry : line.entry) what(entry);
  }
  // The sweep takes what is expired, and counts it before its next tick.
  bool swept() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    const auto some_expired = [&] {
      bool some = false;
      each_entry([&](const maps::flow_entry &entry) { some = some || is_expired(entry); });
      return some;
    };
    const auto until = [&](auto condition) {
      while (!condition() && std::chrono::steady_clock::now() < deadline)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      return condition();
    };
    if (!until([&] { return !some_expired(); })) return false;
    return until([&, ticks = plane.sweep().ticks] { return plane.sweep().ticks > ticks + 1; });
  }

  const uint32_t hz = plane.control().hz;
  const uint32_t long_ago = static_cast<uint32_t>(plane.jiffies()) - 10 * 3600 * hz;
  std::vector<uint32_t> of_protected;
  std::set<const maps::flow_entry *> kept;
};

TEST_F(SmallTable, flow_table_agrees_with_model) {
  constexpr int kPackets = 150'000;  // of each CPU
  auto service = service_one({1, 2});
  service.timeout = 2 * 3600 * hz;
  plane.services({service});
  plane.publish();
  protect();
  ASSERT_EQ(plane.sweep_start(), 0);
  std::atomic<uint64_t> forwarded{0}, wrong{0}, moved{0};
  std::atomic<bool> done{false};
  std::thread agent([&] {  // the ring changes, and flows expire
    for (uint16_t i = 0; !done; ++i) {
      service.ring = {static_cast<uint16_t>(i % 2 + 1)};
      plane.services({service});
      plane.publish();
      expire(plane.flows()[i % plane.flows().size()].entry[i % FLOW_LINE_ENTRIES]);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  on_two_cpus([&](unsigned cpu) {
    Bytes output;
    uint64_t random = cpu + 1;
    for (int i = 0; i < kPackets; ++i) {
      random = random * 6364136223846793005ULL + 1442695040888963407ULL;
      const uint32_t pick = static_cast<uint32_t>(random >> 33) % 200;
      const bool is_protected = pick < 6;
      const auto port = static_cast<uint16_t>(is_protected ? 60001 + pick : pick);
      if (Plane::run(plane.xdp_program(), from_client(ip(udp(port))), output) != XDP_REDIRECT) {
        ++wrong;
        continue;
      }
      ++forwarded;
      if (is_protected && read32(output, 62) != of_protected[pick]) ++moved;
    }
  });
  done = true;
  agent.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(moved, 0u) << "a protected flow changed its instance";
  const auto counters = plane.flow_counters();
  EXPECT_GT(counters.inserted, 10'000u);
  EXPECT_GT(counters.displaced, 1000u);
  RecordProperty("raced", static_cast<int>(counters.raced));
  EXPECT_EQ(plane.instance_packets(1) + plane.instance_packets(2), forwarded + of_protected.size());
  // No packet now, and nothing expires: what stands there is settled.
  ASSERT_TRUE(swept());
  expect_consistent(plane);
  each_entry([&](maps::flow_entry &entry) { expire(entry); });
  ASSERT_TRUE(swept());
  EXPECT_EQ(plane.live_flows(), of_protected.size());
  EXPECT_GT(plane.flow_counters().expired, counters.expired);
  expect_consistent(plane);
}

}  // namespace
}  // namespace catsbpf::test
