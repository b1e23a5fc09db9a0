// SPDX-License-Identifier: Apache-2.0
// The programmer's grace thread: does one blocking job at a time off the event loop, and tells the
// loop when it is done.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include <boost/asio/io_context.hpp>

#include "util/result.h"

namespace catsbpf::agent {

class Worker {
 public:
  explicit Worker(boost::asio::io_context &io);
  ~Worker();  // waits for the running job; its `done` is not called any more
  Worker(const Worker &) = delete;
  Worker &operator=(const Worker &) = delete;

  bool busy() const { return busy_; }
  // Only while not busy. `job` runs on the thread, then `done` on the event loop.
  void start(std::function<Result<>()> job, std::function<void(Result<>)> done);

 private:
  void run();

  boost::asio::io_context &io_;
  bool busy_ = false;  // of the event loop alone
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // of the event loop alone

  std::mutex mutex_;
  std::condition_variable wake_;
  std::function<Result<>()> job_;
  std::function<void(Result<>)> done_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace catsbpf::agent
