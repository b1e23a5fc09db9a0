// SPDX-License-Identifier: Apache-2.0
#include "agent/programmer/worker.h"

#include <boost/asio/post.hpp>

namespace catsbpf::agent {

Worker::Worker(boost::asio::io_context &io) : io_(io), thread_([this] { run(); }) {}

Worker::~Worker() {
  *alive_ = false;
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Worker::start(std::function<Result<>()> job, std::function<void(Result<>)> done) {
  busy_ = true;
  {
    std::lock_guard lock(mutex_);
    job_ = std::move(job);
    done_ = std::move(done);
  }
  wake_.notify_one();
}

void Worker::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stop_ || job_; });
    if (stop_) return;
    auto job = std::exchange(job_, nullptr);
    auto done = std::exchange(done_, nullptr);
    lock.unlock();
    auto result = job();
    boost::asio::post(io_, [this, alive = alive_, done = std::move(done), result = std::move(result)]() mutable {
      if (!*alive) return;
      busy_ = false;
      done(std::move(result));
    });
    lock.lock();
  }
}

}  // namespace catsbpf::agent
