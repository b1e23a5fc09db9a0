// SPDX-License-Identifier: Apache-2.0
// An io_context on a thread of its own for a test, so that blocking clients can talk to it; and captured log lines.
#pragma once

#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

namespace catsbpf::test {

constexpr std::chrono::seconds kPatience{10};  // how long a test waits for what must come

class Loop {
 public:
  Loop() : work_(io_.get_executor()), thread_([this] { io_.run(); }) {}
  ~Loop() { finish(); }
  boost::asio::io_context &io() { return io_; }

  // Runs it on the loop's thread and waits for its result.
  template <class F>
  auto run(F f) -> std::invoke_result_t<F> {
    std::packaged_task<std::invoke_result_t<F>()> task(std::move(f));
    auto result = task.get_future();
    boost::asio::post(io_, [&task] { task(); });
    return result.get();
  }
  // Lets all coroutines end by themselves: hangs (and the test with it) where one does not.
  void finish() {
    work_.reset();
    if (thread_.joinable()) thread_.join();
  }

 private:
  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::thread thread_;
};

// Strings that come from another thread, and waiting for one of them.
class Lines {
 public:
  void add(std::string line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
    added_.notify_all();
  }
  // The first line with `part` in it; "" when none came in time.
  std::string wait_for(const std::string &part) {
    std::unique_lock lock(mutex_);
    std::string found;
    added_.wait_for(lock, kPatience, [&] {
      for (const auto &line : lines_)
        if (found.empty() && line.find(part) != std::string::npos) found = line;
      return !found.empty();
    });
    return found;
  }
  // All lines, once there are `count`.
  std::vector<std::string> wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    added_.wait_for(lock, kPatience, [&] { return lines_.size() >= count; });
    return lines_;
  }
  std::vector<std::string> all() {
    const std::lock_guard lock(mutex_);
    return lines_;
  }
  void clear() {
    const std::lock_guard lock(mutex_);
    lines_.clear();
  }

 private:
  std::mutex mutex_;
  std::condition_variable added_;
  std::vector<std::string> lines_;
};

// Takes the log while it lives.
class CapturedLog : public Lines {
 public:
  CapturedLog() : before_(spdlog::default_logger()) {
    auto logger = std::make_shared<spdlog::logger>("test", std::make_shared<Sink>(*this));
    logger->set_level(spdlog::level::debug);
    spdlog::set_default_logger(logger);
  }
  ~CapturedLog() { spdlog::set_default_logger(before_); }

 private:
  struct Sink : spdlog::sinks::base_sink<std::mutex> {
    explicit Sink(Lines &to) : lines(to) {}
    void sink_it_(const spdlog::details::log_msg &message) override {
      lines.add(std::string(message.payload.data(), message.payload.size()));
    }
    void flush_() override {}
    Lines &lines;
  };
  std::shared_ptr<spdlog::logger> before_;
};

}  // namespace catsbpf::test
