// SPDX-License-Identifier: Apache-2.0
// A C-PS and C-SMAs on loopback with certificates of their own, in one event loop that the test itself turns.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <optional>

#include "agent/session/connection.h"
#include "agent/session/session_client.h"
#include "agent/session/session_server.h"
#include "tests/unit/util_certificates.h"
#include "tests/unit/util_loop.h"
#include "util/endpoint.h"

namespace catsbpf::test {

using namespace std::chrono_literals;
namespace asio = boost::asio;

inline cmas::SiteRow site_row(uint32_t cs_id, uint32_t csci_id, uint32_t offered, double cost = 1) {
  cmas::SiteRow row;
  row.row.key = {cs_id, csci_id};
  row.row.offered = offered;
  row.row.cost = cost;
  row.service_id = "CS" + std::to_string(cs_id);
  return row;
}

class LoopTest : public ::testing::Test {
 protected:
  // Turns the event loop until it holds; false after the test's patience.
  bool until(const std::function<bool()> &holds) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!holds()) {
      if (std::chrono::steady_clock::now() >= end) return false;
      io_.restart();
      io_.run_one_until(end);
    }
    return true;
  }
  // Turns the loop for a time, where a test shows that something does not happen.
  void turn(std::chrono::milliseconds time) {
    io_.restart();
    io_.run_for(time);
  }
  // Runs beside what the test does; the result comes later.
  template <class T>
  std::shared_ptr<std::optional<T>> begin(asio::awaitable<T> work) {
    auto result = std::make_shared<std::optional<T>>();
    asio::co_spawn(io_, keep(std::move(work), result), asio::detached);
    return result;
  }
  template <class T>
  T await(asio::awaitable<T> work) {
    const auto result = begin(std::move(work));
    EXPECT_TRUE(until([&] { return result->has_value(); }));
    return std::move(**result);
  }
  template <class T>
  static asio::awaitable<void> keep(asio::awaitable<T> work, std::shared_ptr<std::optional<T>> result) {
    result->emplace(co_await std::move(work));
  }

  Folder folder_;
  Authority authority_{folder_, "authority"};
  asio::io_context io_{1};
};

class SessionTest : public LoopTest {
 protected:
  // f1, C-PS of f2 (site-2) and sma3 (site-3).
  void serve(std::function<void(agent::SessionServerOptions &)> change = {}) {
    agent::SessionServerOptions options;
    options.listen = endpoint_.empty() ? "127.0.0.1:0" : endpoint_;
    options.tls = authority_.issue("path-selector", "f1");
    options.domain = "lab.cats";
    options.name = "f1";
    options.agents = {{"f2", "site-2"}, {"sma3", "site-3"}};
    if (change) change(options);
    auto opened = agent::SessionServer::open(io_, options, whole_);
    ASSERT_TRUE(opened) << opened.error().text();
    server_ = std::move(*opened);
    endpoint_ = server_->endpoint();
    server_->on_touched([this](const auto &services, const std::string &origin, uint64_t epoch, uint64_t sequence) {
      touched_.push_back({services, origin, epoch, sequence});
    });
  }

  agent::SessionClientOptions client_options(const std::string &name = "f2", const std::string &site = "site-2") {
    agent::SessionClientOptions options;
    options.peer = "f1";
    options.address = endpoint_;
    options.tls = authority_.issue("service-metric-agent", name);
    options.domain = "lab.cats";
    options.name = name;
    options.site = site;
    options.egresses = {"f2"};
    return options;
  }
  void dial(agent::SessionClientOptions options, uint64_t epoch = 1) {
    agent::SessionClient::Ledger ledger;
    ledger.reserve = [this](uint64_t reservation, const cmas::RowKey &key, uint32_t gas,
                            std::chrono::milliseconds lease, agent::SessionClient::Answer answer) {
      if (mute_) return;
      auto granted = site_.reserve(reservation, key, gas, lease, cmas::Clock::now());
      changed();
      answer(std::move(granted));
    };
    ledger.renew = [this](uint64_t reservation, std::chrono::milliseconds lease, agent::SessionClient::Answer answer) {
      answer(site_.renew(reservation, lease, cmas::Clock::now()));
    };
    ledger.release = [this](uint64_t reservation, agent::SessionClient::Answer answer) {
      released_.push_back(reservation);
      if (site_.release(reservation)) changed();
      if (!mute_) answer(done());
    };
    ledger.held = [this](const std::set<uint64_t> &held) {
      held_.push_back(held);
      return site_.reconcile("f1", held).unknown;
    };
    auto opened = agent::SessionClient::open(io_, std::move(options), site_, epoch, std::move(ledger));
    ASSERT_TRUE(opened) << opened.error().text();
    client_ = std::move(*opened);
  }
  agent::SessionClient::Carried changed() { return client_->changed(site_.take_dirty()); }

  void put(std::vector<cmas::SiteRow> rows) {
    ASSERT_TRUE(site_.replace(std::move(rows)));
    if (!client_) (void)site_.take_dirty();
  }
  v1::SessionStatus in(const std::string &name = "f2") const {
    for (const auto &status : server_->sessions())
      if (status.peer() == name) return status;
    return {};
  }
  std::optional<cmas::Candidate> instance(uint32_t csci_id) const {
    for (const auto &candidate : whole_.all())
      if (candidate.key.csci_id == csci_id) return candidate;
    return std::nullopt;
  }
  bool state(uint32_t csci_id, cmas::RowState wanted) const {
    const auto found = instance(csci_id);
    return found && found->state == wanted;
  }

  // A peer played by the test: connected, shaken hands, nothing said yet.
  std::shared_ptr<agent::Connection> peer(const tls::Files &files) {
    auto context = tls::client_context(files);
    EXPECT_TRUE(context) << context.error().text();
    auto connection = std::make_shared<agent::Connection>(asio::ip::tcp::socket(io_), *context);
    EXPECT_TRUE(await(connection->connect(*parse_endpoint(endpoint_))));
    auto identity = await(connection->handshake(asio::ssl::stream_base::client, {"lab.cats", "path-selector", {"f1"}}));
    EXPECT_TRUE(identity) << identity.error().text();
    return connection;
  }
  static v1::Envelope open_message() {
    v1::Envelope envelope;
    auto &open = *envelope.mutable_open();
    open.set_version(1);
    open.set_oldest_version(1);
    open.set_name("f2");
    open.set_site("site-2");
    open.add_egresses("f2");
    open.set_function_set("none");
    open.set_hold_time_ms(30'000);
    return envelope;
  }
  // What the C-PS says to an Open that differs in one thing.
  v1::Envelope answer_to(std::function<void(v1::Open &)> change = {}) {
    const auto connection = peer(authority_.issue("service-metric-agent", "f2"));
    auto open = open_message();
    if (change) change(*open.mutable_open());
    connection->send(open);
    auto answer = await(connection->read());
    EXPECT_TRUE(answer) << answer.error().text();
    connection->close("done");
    return answer ? *answer : v1::Envelope{};
  }
  std::shared_ptr<agent::Connection> opened_peer() {
    auto connection = peer(authority_.issue("service-metric-agent", "f2"));
    connection->send(open_message());
    auto answer = await(connection->read());
    EXPECT_TRUE(answer && answer->has_open_reply());
    return connection;
  }
  // The next message of that kind; others before it are passed over.
  v1::Envelope next(const std::shared_ptr<agent::Connection> &connection, v1::Envelope::BodyCase wanted) {
    for (;;) {
      auto envelope = await(connection->read());
      EXPECT_TRUE(envelope) << envelope.error().text();
      if (!envelope || envelope->body_case() == wanted) return envelope ? *envelope : v1::Envelope{};
    }
  }

  struct Touch {
    cmas::WholeTable::Services services;
    std::string origin;
    uint64_t epoch, sequence;
  };
  cmas::WholeTable whole_;
  cmas::SiteTable site_;
  std::string endpoint_;
  std::vector<Touch> touched_;
  std::vector<uint64_t> released_;
  std::vector<std::set<uint64_t>> held_;
  bool mute_ = false;  // the ledger does not answer
  std::unique_ptr<agent::SessionServer> server_;
  std::unique_ptr<agent::SessionClient> client_;
};

}  // namespace catsbpf::test
