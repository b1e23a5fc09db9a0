// SPDX-License-Identifier: Apache-2.0
// Deadlines that are lifted or moved when their timer has expired and its handler is on its way.
#include "agent/session/deadline.h"

#include <thread>

#include "tests/unit/session_fixture.h"

namespace catsbpf::test {
namespace {

class Deadlines : public SessionTest {
 protected:
  // What comes first in one turn of the loop in which everything set before has expired.
  void meanwhile(std::function<void()> act) { first_.set(0ms, std::move(act)); }
  void expire() {
    std::this_thread::sleep_for(5ms);
    io_.restart();
    io_.poll();
  }
  agent::Deadline first_{io_.get_executor()};
};

TEST_F(Deadlines, comes_once) {
  int times = 0;
  agent::Deadline deadline(io_.get_executor());
  deadline.set(1ms, [&] { ++times; });
  expire();
  expire();
  EXPECT_EQ(times, 1);
}

TEST_F(Deadlines, lifted_too_late_for_its_timer_does_nothing) {
  bool came = false;
  agent::Deadline deadline(io_.get_executor());
  meanwhile([&] { deadline.lift(); });
  deadline.set(1ms, [&] { came = true; });
  expire();
  EXPECT_FALSE(came);
}

TEST_F(Deadlines, moved_too_late_for_its_timer_comes_at_the_new_time_only) {
  int old = 0, moved = 0;
  agent::Deadline deadline(io_.get_executor());
  meanwhile([&] { deadline.set(20ms, [&] { ++moved; }); });
  deadline.set(1ms, [&] { ++old; });
  expire();
  EXPECT_EQ(old, 0);
  EXPECT_TRUE(until([&] { return moved == 1; }));
  EXPECT_EQ(old, 0);
}

TEST_F(Deadlines, ended_too_late_for_its_timer_does_nothing) {
  bool came = false;
  auto deadline = std::make_unique<agent::Deadline>(io_.get_executor());
  meanwhile([&] { deadline.reset(); });
  deadline->set(1ms, [&] { came = true; });
  expire();
  EXPECT_FALSE(came);
}

TEST_F(Deadlines, lifted_deadline_does_not_close_a_connection) {
  serve();
  const auto connection = opened_peer();
  meanwhile([&] { connection->clear_deadline(); });
  connection->set_deadline(1ms, "too late");
  expire();
  EXPECT_FALSE(connection->closed());
}

}  // namespace
}  // namespace catsbpf::test
