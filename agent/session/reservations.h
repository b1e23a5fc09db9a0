// SPDX-License-Identifier: Apache-2.0
// What a C-PS asks of one owner of rows: Reserve and Renew with their answers, Release until it is confirmed, Held
// at the start of each session. In: the session, while there is one. Out: envelopes, and answers to who asked.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <map>
#include <memory>
#include <set>
#include <string>

#include "agent/session/connection.h"
#include "agent/session/session_server.h"

namespace catsbpf::agent {

class Reservations {
 public:
  // `options` outlive it.
  Reservations(boost::asio::any_io_executor io, const SessionServerOptions &options, std::string owner);

  // A session came up: says what is held, before anything else that this session says of reservations.
  void began(std::shared_ptr<Connection> connection);
  // It was lost or replaced. Who waits for an answer gets `why`.
  void ended(const Error &why);
  void stop();

  // Who awaits keeps this object alive. `handle` is of the last Snapshot.
  boost::asio::awaitable<Result<>> reserve(uint32_t handle, uint64_t reservation, uint32_t gas,
                                           std::chrono::milliseconds lease);
  boost::asio::awaitable<Result<>> renew(uint64_t reservation, std::chrono::milliseconds lease);
  void release(uint64_t reservation);

  // What the owner says.
  void answered(const v1::ReserveReply &reply);
  void released(uint64_t reservation) { releases_.erase(reservation); }

 private:
  struct Question;
  boost::asio::awaitable<Result<>> ask(uint64_t reservation, v1::Envelope envelope, bool release_if_silent);
  void say_held();
  void say_release(uint64_t reservation);

  boost::asio::any_io_executor io_;
  const SessionServerOptions &options_;
  std::string owner_;
  std::shared_ptr<Connection> connection_;  // null: no session
  std::map<uint64_t, std::shared_ptr<Question>> questions_;
  std::set<uint64_t> releases_;  // not confirmed yet: what is written into a dying session is lost
  bool stopped_ = false;
};

}  // namespace catsbpf::agent
