// SPDX-License-Identifier: Apache-2.0
#include "agent/session/reservations.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <optional>

namespace catsbpf::agent {

namespace asio = boost::asio;
using std::chrono::milliseconds;

namespace {

constexpr std::size_t kMaxReleases = 32'768;  // fit into one connection's queue; an older peer confirms none

uint32_t lease_ms(milliseconds lease) {
  return static_cast<uint32_t>(std::clamp(lease, milliseconds{0}, kLongestLease).count());
}

}  // namespace

// A Reserve or Renew that waits for its ReserveReply.
struct Reservations::Question {
  explicit Question(const asio::any_io_executor &io) : timer(io) {}
  asio::steady_timer timer;
  std::optional<Result<>> answer;
  bool of_owner = false;  // or the session has ended

  void settle(Result<> result) {
    answer = std::move(result);
    timer.cancel();
  }
};

Reservations::Reservations(asio::any_io_executor io, const SessionServerOptions &options, std::string owner)
    : io_(std::move(io)), options_(options), owner_(std::move(owner)) {}

void Reservations::began(std::shared_ptr<Connection> connection) {
  connection_ = std::move(connection);
  say_held();
  for (const uint64_t reservation : releases_) say_release(reservation);
}

void Reservations::ended(const Error &why) {
  connection_.reset();
  for (auto &[id, question] : questions_) question->settle(why);
}

void Reservations::stop() {
  stopped_ = true;
  ended(Error{"this agent is stopping"});
}

asio::awaitable<Result<>> Reservations::reserve(uint32_t handle, uint64_t reservation, uint32_t gas,
                                                milliseconds lease) {
  v1::Envelope envelope;
  auto &reserve = *envelope.mutable_reserve();
  reserve.set_reservation(reservation);
  reserve.set_handle(handle);
  reserve.set_gas(gas);
  reserve.set_lease_ms(lease_ms(lease));
  co_return co_await ask(reservation, std::move(envelope), true);
}

asio::awaitable<Result<>> Reservations::renew(uint64_t reservation, milliseconds lease) {
  v1::Envelope envelope;
  envelope.mutable_renew()->set_reservation(reservation);
  envelope.mutable_renew()->set_lease_ms(lease_ms(lease));
  co_return co_await ask(reservation, std::move(envelope), false);
}

asio::awaitable<Result<>> Reservations::ask(uint64_t reservation, v1::Envelope envelope, bool release_if_silent) {
  if (!connection_) co_return Error{"no session with '" + owner_ + "', the owner of the row"};
  auto [at, fresh] = questions_.try_emplace(reservation, std::make_shared<Question>(io_));
  if (!fresh) co_return Error{"reservation " + std::to_string(reservation) + " is being asked for already"};
  const auto question = at->second;
  question->timer.expires_after(options_.answer_timeout);
  connection_->send(envelope);
  co_await question->timer.async_wait(asio::as_tuple(asio::use_awaitable));
  questions_.erase(reservation);
  if (question->answer && question->answer->ok()) co_return done();
  const bool silent = !question->of_owner || !connection_;
  // The owner may have granted it; or its answer was lost with the session.
  if (silent && release_if_silent && !stopped_) release(reservation);
  if (question->answer) co_return *question->answer;
  co_return Error{"no answer of '" + owner_ + "' within " + std::to_string(options_.answer_timeout.count()) + " ms"};
}

void Reservations::answered(const v1::ReserveReply &reply) {
  const auto question = questions_.find(reply.reservation());
  if (question == questions_.end()) return;  // too late: released already
  question->second->of_owner = true;
  question->second->settle(reply.granted() ? done() : Result<>{Error{reply.reason()}});
}

void Reservations::release(uint64_t reservation) {
  // Any one goes: leases end by themselves, this only hastens it.
  if (releases_.size() >= kMaxReleases) releases_.erase(releases_.begin());
  releases_.insert(reservation);
  if (connection_) say_release(reservation);
}

void Reservations::say_release(uint64_t reservation) {
  v1::Envelope envelope;
  envelope.mutable_release()->set_reservation(reservation);
  connection_->send(envelope);
}

void Reservations::say_held() {
  if (!options_.held) return;
  v1::Envelope envelope;
  auto &held = *envelope.mutable_held();
  for (const uint64_t reservation : options_.held(owner_)) held.add_reservations(reservation);
  // Granted, but those who asked have not been told yet.
  for (const auto &[reservation, question] : questions_)
    if (question->answer && question->answer->ok()) held.add_reservations(reservation);
  connection_->send(envelope);
}

}  // namespace catsbpf::agent
