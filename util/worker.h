// SPDX-License-Identifier: Apache-2.0
// One thread for what must not hold up an event loop: waits for the disk or the kernel. In: a job, and what to do with
// its result. Out: the result, on the thread of the event loop. Jobs run one after the other.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

#include <future>
#include <utility>

#include "util/result.h"

namespace catsbpf {

class Worker {
 public:
  explicit Worker(boost::asio::io_context &io) : io_(io) {}
  ~Worker() { thread_.join(); }
  Worker(const Worker &) = delete;

  // `job` must own all that it looks at. `then(Result<>)` may come when the caller has gone.
  template <class Job, class Then>
  void run(Job job, Then then) {
    boost::asio::post(thread_, [this, job = std::move(job), then = std::move(then),
                                busy = boost::asio::make_work_guard(io_)]() mutable {
      boost::asio::post(io_, [then = std::move(then), result = Result<>(job())]() mutable { then(std::move(result)); });
    });
  }
  // Waits for the jobs so far.
  void drain() {
    std::promise<void> reached;
    boost::asio::post(thread_, [&] { reached.set_value(); });
    reached.get_future().wait();
  }

 private:
  boost::asio::io_context &io_;
  boost::asio::thread_pool thread_{1};
};

}  // namespace catsbpf
