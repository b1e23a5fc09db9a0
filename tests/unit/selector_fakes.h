// SPDX-License-Identifier: Apache-2.0
// A programmer and owners of rows in memory, and a selector between them.
#pragma once

#include <gtest/gtest.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/selector/path_selector.h"

namespace catsbpf::test {

using namespace catsbpf::agent;
namespace asio = boost::asio;

class FakeProgrammer : public Programmer {
 public:
  void hold(const std::string &waiting_for) override { held = waiting_for; }
  // As the real one: what the last agent left and nobody has put yet goes with the release, unless told otherwise.
  void release() override {
    release_known("");
    waiting_for_unknown.clear();
    std::erase_if(pinned, [&](uint32_t cs_id) { return !services.contains(cs_id); });
  }
  void release_known(const std::string &waiting_for) override {
    held.reset();
    waiting_for_unknown = waiting_for;
  }
  void put_service(WantedService service) override {
    puts++;
    services[service.cs_id] = std::move(service);
  }
  void remove_service(uint32_t cs_id) override { services.erase(cs_id); }
  void put_deliveries(const std::string &, std::vector<WantedDelivery>) override {}
  Result<> put_session(const WantedSession &session) override {
    if (!session_error.empty()) return Error{session_error};
    for (auto other = sessions.begin(); other != sessions.end();)  // one per client and service
      other = other->second.client == session.client && other->second.cs_id == session.cs_id ? sessions.erase(other)
                                                                                             : std::next(other);
    sessions[session.reservation] = session;
    return done();
  }
  void remove_session(uint64_t reservation) override { sessions.erase(reservation); }
  void keep_sessions(const std::set<uint64_t> &kept) override {
    std::erase_if(sessions, [&](const auto &session) { return !kept.contains(session.first); });
  }
  Result<> set_bypass(bool on) override { return bypass_ = on, done(); }
  bool bypass() const override { return bypass_; }
  void on_path(std::function<void(const std::string &, bool)> callback) override { path_changed = std::move(callback); }
  void on_undeliverable(std::function<void(const std::set<cmas::RowKey> &)>) override {}
  void on_published(std::function<void(uint64_t, uint64_t)> callback) override { published = std::move(callback); }
  std::string state() const override {
    return held                          ? "starting (waiting for " + *held + ")"
           : waiting_for_unknown.empty() ? "in sync"
                                         : "starting (waiting for " + waiting_for_unknown + ")";
  }
  uint16_t slot(uint32_t cs_id, uint32_t csci_id) const override {
    return static_cast<uint16_t>(cs_id * 100 + csci_id);
  }
  std::vector<PathView> paths() const override { return path_views; }
  std::vector<std::string> unresolved;  // what the real one says of paths and deliveries
  std::vector<std::string> warnings() const override { return unresolved; }
  Totals totals() const override { return {}; }

  InstanceWish wish(uint32_t cs_id, uint32_t csci_id) const {
    for (const auto &instance : services.at(cs_id).instances)
      if (instance.csci_id == csci_id) return instance.wish;
    ADD_FAILURE() << "no instance " << csci_id;
    return InstanceWish::kDead;
  }
  std::vector<uint32_t> ring(uint32_t cs_id) const {
    std::vector<uint32_t> ids;
    for (const auto &member : services.at(cs_id).ring->members) ids.push_back(member.csci_id);
    return ids;
  }
  std::vector<uint32_t> instances(uint32_t cs_id) const {
    std::vector<uint32_t> ids;
    for (const auto &instance : services.at(cs_id).instances) ids.push_back(instance.csci_id);
    return ids;
  }

  std::map<uint32_t, WantedService> services;
  std::map<uint64_t, WantedSession> sessions;
  std::optional<std::string> held;
  std::string waiting_for_unknown;
  std::set<uint32_t> pinned;  // services of the last agent's view
  std::string session_error;
  std::function<void(uint64_t, uint64_t)> published;
  std::function<void(const std::string &, bool)> path_changed;
  std::vector<PathView> path_views;
  int puts = 0;

 private:
  bool bypass_ = false;
};

// The owners of all rows: grant unless told otherwise.
class FakeOwners : public SessionServer {
 public:
  void on_touched(Touched callback) override { touched = std::move(callback); }
  void on_finished(std::function<void(uint64_t, const std::string &)> callback) override {
    finished = std::move(callback);
  }
  asio::awaitable<Result<>> reserve(std::string origin, cmas::RowKey key, uint64_t reservation, uint32_t gas,
                                    std::chrono::milliseconds lease) override {
    asked.push_back({origin, key, gas, lease});
    if (before_answer) before_answer();
    co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
    if (refuse.contains(key.csci_id)) co_return Error{refuse[key.csci_id]};
    granted[reservation] = key;
    co_return done();
  }
  asio::awaitable<Result<>> renew(std::string, uint64_t reservation, std::chrono::milliseconds lease) override {
    co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
    if (!granted.contains(reservation)) co_return Error{"unknown reservation"};
    renewed[reservation] = lease;
    co_return done();
  }
  void release(const std::string &, uint64_t reservation) override {
    granted.erase(reservation);
    released.push_back(reservation);
  }
  bool all_synced() const override { return not_synced.empty(); }
  std::vector<std::string> unsynced() const override { return not_synced; }
  void on_synced(std::function<void()> callback) override { synced = std::move(callback); }
  std::vector<v1::SessionStatus> sessions() const override { return statuses; }
  uint64_t refused() const override { return 0; }
  std::string endpoint() const override { return "127.0.0.1:7900"; }
  void stop() override {}

  struct Asked {
    std::string origin;
    cmas::RowKey key;
    uint32_t gas;
    std::chrono::milliseconds lease;
  };
  std::vector<Asked> asked;
  std::map<uint32_t, std::string> refuse;  // by CSCI-ID: why
  std::function<void()> before_answer;
  std::map<uint64_t, cmas::RowKey> granted;
  std::map<uint64_t, std::chrono::milliseconds> renewed;
  std::vector<uint64_t> released;
  std::vector<std::string> not_synced;
  std::vector<v1::SessionStatus> statuses;
  Touched touched;
  std::function<void(uint64_t, const std::string &)> finished;
  std::function<void()> synced;
};

// Figure 1: AR1 at both sites, TP1 at site 2.
class SelectorTest : public ::testing::Test {
 protected:
  static v1::Service service(const std::string &id, uint32_t cs_id) {
    v1::Service s;
    s.set_service_id(id);
    s.set_cs_id(cs_id);
    s.mutable_computing_time()->set_max_us(1000);
    s.add_locators()->set_prefix("10.99.0." + std::to_string(cs_id));
    return s;
  }
  static cmas::Row row(uint32_t cs_id, uint32_t csci_id, uint32_t offered, double cost) {
    cmas::Row r;
    r.key = {cs_id, csci_id};
    r.offered = offered;
    r.cost = cost;
    return r;
  }

  SelectorOptions options() const {
    SelectorOptions o;
    o.forwarders = {"f2", "f3"};
    o.sites = {"site-2", "site-3"};
    o.start_hold = std::chrono::milliseconds(0);
    return o;
  }
  void open(SelectorOptions o) {
    auto opened = PathSelector::open(io_, table_, owners_, programmer_, std::move(o));
    ASSERT_TRUE(opened) << opened.error().text();
    selector_ = std::move(*opened);
  }
  void open() { open(options()); }
  // Everything that is due now.
  void turn() {
    io_.restart();
    io_.poll();
  }
  // Until it holds; a test hangs no longer than 10 s.
  template <class Condition>
  void until(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    io_.restart();
    while (!condition() && std::chrono::steady_clock::now() < end) {
      io_.run_one_until(end);
      if (io_.stopped()) io_.restart();
    }
    ASSERT_TRUE(condition());
  }
  void rows(const std::string &origin, const std::vector<cmas::Row> &rows, uint64_t sequence = 1) {
    const auto services = table_.put_rows(origin, "site-" + origin.substr(1), {origin}, rows);
    ASSERT_TRUE(services) << services.error().text();
    owners_.touched(*services, origin, 1, sequence);
  }
  void figure1() {
    selector_->put_service(service("AR1", 1));
    selector_->put_service(service("TP1", 2));
    rows("f2", {row(1, 1, 3, 4), row(2, 2, 6, 5)});
    rows("f3", {row(1, 3, 4, 6)});
    selector_->put_metric("f2", {cmas::Micros(10'000), {}, 0, cmas::Clock::now()});
    selector_->put_metric("f3", {cmas::Micros(20'000), {}, 0, cmas::Clock::now()});
    turn();
  }
  template <class T>
  T wait(asio::awaitable<T> coroutine) {
    std::optional<T> result;
    asio::co_spawn(
        io_, [&]() -> asio::awaitable<void> { result.emplace(co_await std::move(coroutine)); }, asio::detached);
    turn();
    if (!result) until([&] { return result.has_value(); });
    turn();
    EXPECT_TRUE(result.has_value()) << "the coroutine did not end";
    return std::move(*result);
  }
  Result<RequestDesk::Outcome> request(double cost, uint32_t gas = 1, double delay_ms = 0, uint32_t lease_s = 0,
                                       const std::string &client = "10.1.0.2", const std::string &service = "AR1") {
    v1::ServiceRequest r;
    r.set_service_id(service);
    r.set_cost(cost);
    r.set_gas(gas);
    r.set_delay_ms(delay_ms);
    if (lease_s) r.set_lease_s(lease_s);
    return wait(selector_->requests().request(r, client));
  }

  asio::io_context io_{1};
  cmas::WholeTable table_;
  FakeOwners owners_;
  FakeProgrammer programmer_;
  std::unique_ptr<PathSelector> selector_;
};

}  // namespace catsbpf::test
