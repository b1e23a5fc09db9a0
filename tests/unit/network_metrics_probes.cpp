// SPDX-License-Identifier: Apache-2.0
// Senders and reflectors on real sockets of loopback; interface rates of the kernel's own counters.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/ip/udp.hpp>
#include <boost/asio/ip/unicast.hpp>

#include <fstream>

#include "agent/network_metrics/interface_rates.h"
#include "agent/network_metrics/network_metric_agent.h"
#include "agent/network_metrics/reflector.h"
#include "agent/network_metrics/udp_socket.h"

namespace catsbpf::agent {
namespace {

using namespace std::chrono_literals;
namespace asio = boost::asio;
using asio::ip::udp;
using ::testing::HasSubstr;

class Probing : public ::testing::Test {
 protected:
  bool until(const std::function<bool()> &holds) {
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (!holds()) {
      if (std::chrono::steady_clock::now() >= end) return false;
      io_.restart();
      io_.run_one_until(end);
    }
    return true;
  }
  void turn(std::chrono::milliseconds time) {
    io_.restart();
    io_.run_for(time);
  }
  void reflect(ReflectorOptions options = {.address = "127.0.0.1"}) {
    options.port = 0;
    auto opened = Reflector::open(io_, options);
    ASSERT_TRUE(opened) << opened.error().text();
    reflector_ = std::move(*opened);
  }
  // A sender that shares no code with ours: bytes on a socket.
  struct Foreign {
    Foreign(asio::io_context &io, const std::string &to, uint16_t port, uint16_t from = 0)
        : peer(asio::ip::make_address(to), port), socket(io, udp::endpoint(peer.protocol(), from)) {}
    void send(const std::vector<uint8_t> &bytes) { socket.send_to(asio::buffer(bytes), peer); }
    udp::endpoint peer;
    udp::socket socket;
  };
  // The reply; empty when none came while the reflector handled `handled` packets in all.
  std::vector<uint8_t> ask(Foreign &foreign, const std::vector<uint8_t> &bytes) {
    foreign.send(bytes);
    std::vector<uint8_t> reply(2000);
    std::optional<std::size_t> size;
    foreign.socket.async_receive(asio::buffer(reply), [&](boost::system::error_code, std::size_t n) { size = n; });
    EXPECT_TRUE(until([&] { return size.has_value(); }));
    reply.resize(size.value_or(0));
    return reply;
  }
  static std::vector<uint8_t> test_packet(std::size_t size) {
    // Sequence 5, timestamp, error estimate; then zeros as RFC 8762 wants, then what is beyond the base.
    std::vector<uint8_t> bytes = {0, 0, 0, 5, 0xe9, 1, 2, 3, 4, 5, 6, 7, 0x80, 0x11};
    bytes.resize(size);
    for (std::size_t i = 44; i < size; ++i) bytes[i] = static_cast<uint8_t>(i);
    return bytes;
  }
  NetworkMetricAgentOptions probing(const std::string &address) {
    NetworkMetricAgentOptions options;
    options.egresses = {{"f2", address}};
    options.interval = 5ms;
    options.port = reflector_ ? reflector_->port() : 9;
    return options;
  }
  void measure(NetworkMetricAgentOptions options) {
    auto opened = NetworkMetricAgent::open(io_, options);
    ASSERT_TRUE(opened) << opened.error().text();
    agent_ = std::move(*opened);
    agent_->on_metric(
        [this](const std::string &egress, const cmas::NetworkMetric &metric) { metrics_[egress].push_back(metric); });
  }

  asio::io_context io_{1};
  std::unique_ptr<Reflector> reflector_;
  std::unique_ptr<NetworkMetricAgent> agent_;
  std::map<std::string, std::vector<cmas::NetworkMetric>> metrics_;
};

uint32_t u32(const std::vector<uint8_t> &bytes, std::size_t at) {
  return uint32_t{bytes[at]} << 24 | uint32_t{bytes[at + 1]} << 16 | uint32_t{bytes[at + 2]} << 8 | bytes[at + 3];
}

TEST_F(Probing, reflector_answers_a_foreign_sender_as_rfc_8762_says) {
  reflect();
  Foreign foreign(io_, "127.0.0.1", reflector_->port());
  foreign.socket.set_option(asio::ip::unicast::hops(61));
  const auto sent = test_packet(44);
  for (uint32_t sequence = 0; sequence < 3; ++sequence) {
    const auto before = stamp::to_ntp(wall_now());
    const auto reply = ask(foreign, sent);
    const auto after = stamp::to_ntp(wall_now());
    ASSERT_EQ(reply.size(), 44u);
    EXPECT_EQ(u32(reply, 0), sequence) << "a stateful reflector counts by itself";
    const uint64_t t3 = uint64_t{u32(reply, 4)} << 32 | u32(reply, 8),
                   t2 = uint64_t{u32(reply, 16)} << 32 | u32(reply, 20);
    EXPECT_LE(before, t2);
    EXPECT_LE(t2, t3);
    EXPECT_LE(t3, after);
    EXPECT_NE(reply[13], 0) << "multiplier of the error estimate";
    EXPECT_TRUE(std::equal(sent.begin(), sent.begin() + 14, reply.begin() + 24))
        << "sequence, timestamp, error estimate";
    EXPECT_EQ(reply[40], 61) << "TTL of the test packet";
    for (const int mbz : {14, 15, 38, 39, 41, 42, 43}) EXPECT_EQ(reply[mbz], 0) << mbz;
  }
}

TEST_F(Probing, sessions_are_told_apart_by_source_port) {
  reflect();
  Foreign one(io_, "127.0.0.1", reflector_->port()), two(io_, "127.0.0.1", reflector_->port());
  ask(one, test_packet(44));
  EXPECT_EQ(u32(ask(one, test_packet(44)), 0), 1u);
  EXPECT_EQ(u32(ask(two, test_packet(44)), 0), 0u);
}

TEST_F(Probing, longer_packets_come_back_as_long_and_short_ones_are_filled) {
  reflect();
  Foreign foreign(io_, "127.0.0.1", reflector_->port());
  const auto longer = test_packet(1400);
  const auto reply = ask(foreign, longer);
  ASSERT_EQ(reply.size(), longer.size());
  EXPECT_TRUE(std::equal(longer.begin() + 44, longer.end(), reply.begin() + 44));
  EXPECT_EQ(ask(foreign, test_packet(14)).size(), 44u) << "TWAMP Light";
}

TEST_F(Probing, reflector_answers_over_ipv6_and_from_the_address_asked) {
  reflect({.address = ""});
  Foreign six(io_, "::1", reflector_->port());
  EXPECT_EQ(ask(six, test_packet(44)).size(), 44u);
  Foreign four(io_, "127.0.0.9", reflector_->port());
  four.socket.connect(four.peer);  // takes replies of that address only
  std::vector<uint8_t> reply(100);
  std::size_t size = 0;
  four.socket.send(asio::buffer(test_packet(44)));
  four.socket.async_receive(asio::buffer(reply), [&](boost::system::error_code, std::size_t n) { size = n; });
  EXPECT_TRUE(until([&] { return size == 44; }));
}

TEST_F(Probing, what_is_no_test_packet_or_could_loop_is_not_answered) {
  reflect();
  Foreign foreign(io_, "127.0.0.1", reflector_->port());
  foreign.send(std::vector<uint8_t>(13));
  ASSERT_TRUE(until([&] { return reflector_->counts().malformed == 1; }));
  // From another host's reflector: same port, other address.
  udp::socket mirror(io_, udp::endpoint(asio::ip::make_address("127.0.0.2"), reflector_->port()));
  mirror.send_to(asio::buffer(test_packet(44)), foreign.peer);
  ASSERT_TRUE(until([&] { return reflector_->counts().refused == 1; }));
  EXPECT_EQ(reflector_->counts().reflected, 0u);
}

TEST_F(Probing, one_session_is_limited_others_are_not) {
  reflect({.address = "127.0.0.1", .packets_per_second = 10});
  Foreign flood(io_, "127.0.0.1", reflector_->port()), other(io_, "127.0.0.1", reflector_->port());
  for (int i = 0; i < 100; ++i) flood.send(test_packet(44));
  ASSERT_TRUE(until([&] { return reflector_->counts().reflected + reflector_->counts().limited == 100; }));
  EXPECT_LE(reflector_->counts().reflected, 15u);
  EXPECT_EQ(ask(other, test_packet(44)).size(), 44u);
}

TEST_F(Probing, only_configured_sources_are_answered_where_there_are_any) {
  reflect({.address = "127.0.0.1", .sources = {"127.0.0.3"}});
  Foreign stranger(io_, "127.0.0.1", reflector_->port());
  stranger.send(test_packet(44));
  ASSERT_TRUE(until([&] { return reflector_->counts().refused == 1; }));
  udp::socket known(io_, udp::endpoint(asio::ip::make_address("127.0.0.3"), 0));
  known.send_to(asio::buffer(test_packet(44)), stranger.peer);
  ASSERT_TRUE(until([&] { return reflector_->counts().reflected == 1; }));
}

TEST_F(Probing, sessions_without_end_do_not_grow_memory) {
  reflect({.address = "127.0.0.1", .max_sessions = 2});
  Foreign a(io_, "127.0.0.1", reflector_->port()), b(io_, "127.0.0.1", reflector_->port()),
      c(io_, "127.0.0.1", reflector_->port());
  ask(a, test_packet(44));
  ask(b, test_packet(44));
  EXPECT_EQ(u32(ask(a, test_packet(44)), 0), 1u);
  ask(c, test_packet(44));  // b was idle longest
  EXPECT_EQ(u32(ask(a, test_packet(44)), 0), 2u);
  EXPECT_EQ(u32(ask(b, test_packet(44)), 0), 0u);
}

TEST_F(Probing, address_that_is_not_ours_is_named) {
  const auto opened = Reflector::open(io_, {.address = "192.0.2.1", .port = 0});
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().what, HasSubstr("192.0.2.1"));
  EXPECT_THAT(opened.error().hint, HasSubstr("no interface"));
}

TEST_F(Probing, port_below_1024_without_the_capability_gives_the_sysctl_that_allows_it) {
  int first = 0;
  std::ifstream("/proc/sys/net/ipv4/ip_unprivileged_port_start") >> first;
  if (first <= stamp::kPort) GTEST_SKIP() << "this host lets everyone bind port 862";
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    // As nobody, where we are root.
    const bool plain = ::geteuid() != 0 || ::setresuid(65'534, 65'534, 65'534) == 0;
    asio::io_context io;
    const auto opened = Reflector::open(io, {.address = "127.0.0.1"});
    const bool told =
        plain && !opened.ok() && opened.error().hint.find("ip_unprivileged_port_start=862") != std::string::npos;
    ::_exit(told ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(Probing, sender_measures_delay_jitter_and_loss_over_ipv4_and_ipv6) {
  reflect({.address = ""});
  auto options = probing("127.0.0.1");
  options.egresses.push_back({"f3", "::1"});
  options.window = 8;
  measure(options);
  ASSERT_TRUE(until([&] { return metrics_["f2"].size() >= 10 && metrics_["f3"].size() >= 10; }));
  for (const auto *egress : {"f2", "f3"}) {
    const auto &metric = metrics_[egress].back();
    EXPECT_GE(metric.delay, 0us);
    EXPECT_LT(metric.delay, 100ms);
    EXPECT_EQ(metric.loss, 0);
    EXPECT_LT(cmas::Clock::now() - metric.measured, 5s);
  }
  const auto probes = agent_->probes();
  EXPECT_EQ(probes[0].egress, "f2");
  EXPECT_GE(probes[0].answered, 10u);
  EXPECT_EQ(probes[0].lost + probes[0].foreign + probes[0].duplicate, 0u);
  EXPECT_TRUE(probes[0].kernel_timestamps);
}

TEST_F(Probing, stopped_reflector_only_ages_the_metric) {
  reflect();
  auto options = probing("127.0.0.1");
  options.reply_timeout = 20ms;
  options.window = 4;
  measure(options);
  ASSERT_TRUE(until([&] { return metrics_["f2"].size() >= 3; }));
  reflector_.reset();
  ASSERT_TRUE(until([&] { return metrics_["f2"].back().loss == 1; }));
  const auto aged = metrics_["f2"].back();
  EXPECT_LT(aged.measured, cmas::Clock::now());
  EXPECT_LT(aged.delay, 100ms) << "as last measured";
  EXPECT_GT(agent_->probes()[0].lost, 3u);
  turn(100ms);
  EXPECT_TRUE(metrics_["f2"].back().answers) << "its host refuses the probes: the agent is away, not the path";
  EXPECT_GT(agent_->probes()[0].refused, 0u);
}

TEST_F(Probing, silence_for_a_whole_window_is_a_silent_egress) {
  udp::socket silent(io_, udp::endpoint(asio::ip::make_address("127.0.0.1"), 0));
  auto options = probing("127.0.0.1");
  options.port = silent.local_endpoint().port();
  options.reply_timeout = 20ms;
  options.window = 4;
  measure(options);
  ASSERT_TRUE(until([&] { return !metrics_["f2"].empty(); }));
  EXPECT_FALSE(metrics_["f2"].back().answers);
  EXPECT_EQ(metrics_["f2"].back().loss, 1);
}

TEST_F(Probing, nobody_there_gives_no_metric_at_all) {
  auto options = probing("127.0.0.1");
  options.reply_timeout = 10ms;
  measure(options);
  ASSERT_TRUE(until([&] { return agent_->probes()[0].lost >= 3; }));
  EXPECT_TRUE(metrics_.empty());
}

TEST_F(Probing, replies_of_strangers_are_not_believed) {
  // This reflector answers what it was not asked.
  udp::socket liar(io_, udp::endpoint(asio::ip::make_address("127.0.0.1"), 0));
  auto options = probing("127.0.0.1");
  options.port = liar.local_endpoint().port();
  options.reply_timeout = 30s;
  measure(options);
  std::array<uint8_t, 100> bytes;
  udp::endpoint from;
  bool answered = false;
  liar.async_receive_from(asio::buffer(bytes), from, [&](boost::system::error_code, std::size_t) {
    const auto probe = stamp::decode_sender(bytes);
    stamp::ReflectorPacket reply;
    reply.sender = *probe;
    reply.sender.timestamp ^= 1;
    liar.send_to(asio::buffer(stamp::encode(reply)), from);
    answered = true;
  });
  ASSERT_TRUE(until([&] { return answered && agent_->probes()[0].foreign == 1; }));
  EXPECT_TRUE(metrics_.empty());
}

TEST_F(Probing, source_address_may_come_later) {
  reflect();
  auto options = probing("127.0.0.1");
  options.source = "192.0.2.1";
  measure(options);
  ASSERT_TRUE(until([&] { return agent_->probes()[0].send_failed >= 2; })) << "it goes on trying";
  EXPECT_FALSE(NetworkMetricAgent::open(io_, probing("f2.example")));
}

TEST_F(Probing, interface_rates_follow_the_kernels_counters) {
  auto opened = InterfaceRates::open(io_, {"lo", "h5b-none"}, 50ms);
  ASSERT_TRUE(opened) << opened.error().text();
  EXPECT_TRUE((*opened)->rates()[0].present);
  EXPECT_TRUE((*opened)->rates()[0].up);
  EXPECT_LT((*opened)->rates()[0].speed_mbps, 0) << "loopback has no speed";
  EXPECT_FALSE((*opened)->rates()[1].present);
  EXPECT_LT((*opened)->rates()[1].speed_mbps, 0);
  udp::socket sink(io_, udp::endpoint(asio::ip::make_address("127.0.0.1"), 0)), source(io_, udp::v4());
  const std::vector<uint8_t> bytes(60'000);
  ASSERT_TRUE(until([&] {
    source.send_to(asio::buffer(bytes), sink.local_endpoint());
    return (*opened)->rates()[0].receive_mbps > 1;
  }));
  EXPECT_GT((*opened)->rates()[0].transmit_mbps, 1);
}

}  // namespace
}  // namespace catsbpf::agent
