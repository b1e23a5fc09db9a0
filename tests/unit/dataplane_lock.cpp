// SPDX-License-Identifier: Apache-2.0
// The lock of a pin directory, on an ordinary directory: it needs no bpffs.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>

#include "agent/dataplane/pins.h"

namespace catsbpf::agent {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

class PinLock : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/catsbpf-test-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    directory = path;
  }
  void TearDown() override { std::filesystem::remove_all(directory); }
  Fd hold() const {
    auto lock = lock_pin_directory(directory, 0ms);
    EXPECT_TRUE(lock.ok());
    return lock ? std::move(*lock) : Fd();
  }
  std::string directory;
};

TEST_F(PinLock, agent_waits_for_the_end_of_one_that_was_killed) {
  Fd dying = hold();
  const auto began = Clock::now();
  std::thread end([&] {
    std::this_thread::sleep_for(300ms);
    dying = Fd();
  });
  auto lock = lock_pin_directory(directory, 10s);
  const auto waited = Clock::now() - began;
  end.join();
  ASSERT_TRUE(lock.ok()) << lock.error().text();
  EXPECT_GE(waited, 300ms);
  EXPECT_LT(waited, 3s);
}

TEST_F(PinLock, agent_that_lives_is_named_when_patience_ends) {
  const Fd living = hold();
  const auto began = Clock::now();
  auto lock = lock_pin_directory(directory, 200ms);
  EXPECT_GE(Clock::now() - began, 200ms);
  ASSERT_FALSE(lock.ok());
  EXPECT_EQ(lock.error().what, "another agent (pid " + std::to_string(getpid()) + ") holds the pins at " + directory);
  EXPECT_FALSE(lock.error().hint.empty());
}

TEST_F(PinLock, without_patience_the_answer_comes_at_once) {
  const Fd living = hold();
  const auto began = Clock::now();
  EXPECT_FALSE(lock_pin_directory(directory, 0ms).ok());
  EXPECT_LT(Clock::now() - began, 100ms);
}

// Somebody removed and made the directory anew meanwhile: the lock must be of the one that now has the name.
TEST_F(PinLock, lock_is_of_the_directory_that_has_the_name_now) {
  const Fd living = hold();
  std::thread replace([&] {
    std::this_thread::sleep_for(100ms);
    std::filesystem::rename(directory, directory + "-old");
    std::filesystem::create_directory(directory);
  });
  auto lock = lock_pin_directory(directory, 10s);
  replace.join();
  ASSERT_TRUE(lock.ok()) << lock.error().text();
  EXPECT_FALSE(lock_pin_directory(directory, 0ms).ok()) << "the new directory is locked";
  std::filesystem::remove_all(directory + "-old");
}

}  // namespace
}  // namespace catsbpf::agent
