// SPDX-License-Identifier: Apache-2.0
// Grace periods against a program that is under way.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <memory>
#include <thread>

#include "agent/dataplane/grace.h"
#include "tests/prog/long_run.skel.h"
#include "tests/prog/steering_fixture.h"

namespace catsbpf::test {
namespace {

class GraceTest : public KernelTest, public ::testing::WithParamInterface<bool> {
 protected:
  // How often the program has begun or ended: odd while it runs.
  static uint32_t turns(long_run_bpf &program) {
    const uint32_t zero = 0;
    uint32_t value = 0;
    EXPECT_EQ(bpf_map_lookup_elem(bpf_map__fd(program.maps.turns), &zero, &value), 0);
    return value;
  }
  static void run(long_run_bpf &program) {
    uint8_t frame[64] = {};
    LIBBPF_OPTS(bpf_test_run_opts, once, .data_in = frame, .data_size_in = sizeof frame);
    EXPECT_EQ(bpf_prog_test_run_opts(bpf_program__fd(program.progs.long_run), &once), 0);
    EXPECT_EQ(once.retval, static_cast<uint32_t>(XDP_PASS));
  }
};

TEST_P(GraceTest, ends_after_the_programs_that_ran_when_it_began) {
  const std::unique_ptr<long_run_bpf, decltype(&long_run_bpf__destroy)> program(long_run_bpf__open_and_load(),
                                                                                &long_run_bpf__destroy);
  ASSERT_TRUE(program);
  agent::Grace grace(GetParam());
  for (uint32_t round = 0; round < 3; ++round) {
    std::thread thread([&] { run(*program); });
    while (turns(*program) == 2 * round) std::this_thread::yield();
    const auto waited = grace.wait();
    const uint32_t after = turns(*program);
    thread.join();
    ASSERT_TRUE(waited.ok()) << waited.error().text();
    EXPECT_EQ(after, 2 * round + 2);
  }
}

INSTANTIATE_TEST_SUITE_P(by, GraceTest, ::testing::Values(true, false),
                         [](const auto &info) { return info.param ? "membarrier" : "map_of_maps"; });

}  // namespace
}  // namespace catsbpf::test
