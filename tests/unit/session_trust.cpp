// SPDX-License-Identifier: Apache-2.0
// Who is refused, and that both sides say why.
#include <boost/asio/write.hpp>

#include "agent/session/strangers.h"
#include "tests/unit/session_fixture.h"

namespace catsbpf::test {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

class Trust : public SessionTest {
 protected:
  // What the client and the server's log say of a session with these files.
  void dial_as(const tls::Files &files) {
    auto options = client_options();
    options.tls = files;
    dial(std::move(options));
    ASSERT_TRUE(until([&] { return client_->status().refused() > 0; }));
    ASSERT_TRUE(until([&] { return server_->refused() > 0; }));
    EXPECT_FALSE(client_->up());
    EXPECT_EQ(client_->status().state(), "refused");
    theirs_ = refusal_logged();
  }
  std::string refusal_logged() {
    for (const auto &line : log_.all())
      if (line.find("session refused") != std::string::npos) return line;
    return "";
  }
  std::string ours() const { return client_->status().reason(); }
  void expect_refusal(const v1::Envelope &answer, const std::string &part) {
    ASSERT_TRUE(answer.has_refusal());
    EXPECT_THAT(answer.refusal().reason(), HasSubstr(part));
    EXPECT_THAT(refusal_logged(), HasSubstr(part));
    EXPECT_EQ(server_->refused(), 1u);
    EXPECT_EQ(in().refused(), 1u);
  }

  CapturedLog log_;
  std::string theirs_;
};

TEST_F(Trust, peer_that_offers_only_tls_1_2_is_refused_with_the_reason_on_both_sides) {
  serve();
  asio::ssl::context context(asio::ssl::context::tlsv12_client);
  const auto files = authority_.issue("service-metric-agent", "f2");
  context.use_certificate_chain_file(files.certificate);
  context.use_private_key_file(files.key, asio::ssl::context::pem);
  asio::ssl::stream<asio::ip::tcp::socket> stream(io_, context);
  stream.next_layer().connect(*parse_endpoint(endpoint_));
  boost::system::error_code error;
  bool over = false;
  stream.async_handshake(asio::ssl::stream_base::client, [&](boost::system::error_code failed) {
    error = failed;
    over = true;
  });
  ASSERT_TRUE(until([&] { return over && server_->refused() == 1; }));
  EXPECT_THAT(error.message(), HasSubstr("protocol version")) << "the alert reached the peer";
  EXPECT_THAT(refusal_logged(), HasSubstr("TLS 1.2"));
}

TEST_F(Trust, certificate_of_another_role_is_refused) {
  serve();
  dial_as(authority_.issue("site", "f2"));
  EXPECT_THAT(ours(), HasSubstr("service-metric-agent"));
  EXPECT_THAT(theirs_, HasSubstr("spiffe://lab.cats/site/f2"));
}

TEST_F(Trust, certificate_of_another_name_is_refused) {
  serve();
  dial_as(authority_.issue("service-metric-agent", "f9"));
  EXPECT_THAT(ours(), HasSubstr("f9"));
  EXPECT_THAT(theirs_, HasSubstr("f9"));
}

TEST_F(Trust, certificate_of_another_domain_is_refused) {
  serve();
  dial_as(authority_.issue_as("other", {.names = "URI:spiffe://other.cats/service-metric-agent/f2"}));
  EXPECT_THAT(theirs_, HasSubstr("other.cats"));
}

TEST_F(Trust, certificate_of_another_authority_is_refused) {
  serve();
  const Authority other(folder_, "other");
  auto files = other.issue_as("foreign", {.names = "URI:spiffe://lab.cats/service-metric-agent/f2"});
  files.authority = authority_.file();  // it does trust ours
  dial_as(files);
  EXPECT_THAT(ours(), AnyOf(HasSubstr("authority"), HasSubstr("unknown ca")));
  EXPECT_THAT(theirs_, HasSubstr("authority"));
}

TEST_F(Trust, expired_certificate_is_refused) {
  serve();
  dial_as(authority_.issue_as("old", {.names = "URI:spiffe://lab.cats/service-metric-agent/f2", .until_s = -60}));
  EXPECT_THAT(ours(), HasSubstr("expired"));
  EXPECT_THAT(theirs_, HasSubstr("expired"));
}

TEST_F(Trust, path_selector_of_another_name_is_refused_by_the_client) {
  serve([this](auto &options) { options.tls = authority_.issue("path-selector", "f8"); });
  dial_as(authority_.issue("service-metric-agent", "f2"));
  EXPECT_THAT(ours(), HasSubstr("f8"));
  EXPECT_THAT(theirs_, HasSubstr("peer refuses us"));
  EXPECT_THAT(theirs_, HasSubstr("f8"));
}

TEST_F(Trust, path_selector_with_the_wrong_role_is_refused_by_the_client) {
  serve([this](auto &options) { options.tls = authority_.issue("platform", "f1"); });
  dial_as(authority_.issue("service-metric-agent", "f2"));
  EXPECT_THAT(ours(), HasSubstr("path-selector"));
  EXPECT_THAT(theirs_, HasSubstr("peer refuses us"));
}

TEST_F(Trust, another_site_than_configured_is_refused) {
  serve();
  expect_refusal(answer_to([](v1::Open &open) { open.set_site("site-3"); }), "site-3");
}

TEST_F(Trust, open_with_a_name_that_is_not_the_certificates_is_refused) {
  serve();
  expect_refusal(answer_to([](v1::Open &open) { open.set_name("sma3"); }), "sma3");
}

TEST_F(Trust, another_function_set_is_refused) {
  serve();
  expect_refusal(answer_to([](v1::Open &open) { open.set_function_set("min-max/mean"); }), "min-max/mean");
}

TEST_F(Trust, open_beyond_the_limits_is_refused_naming_field_limit_and_value) {
  const std::string endless(100'000, 'x');
  serve();
  const auto refusal = [&](std::function<void(v1::Open &)> change) {
    return answer_to(std::move(change)).refusal().reason();
  };
  EXPECT_EQ(refusal([&](v1::Open &open) { open.set_site(endless); }),
            "cannot take the open: length of site 100000 is outside 1..63");
  EXPECT_EQ(refusal([&](v1::Open &open) { open.set_name(endless); }),
            "cannot take the open: length of name 100000 is outside 1..63");
  EXPECT_EQ(refusal([&](v1::Open &open) { open.set_function_set(endless); }),
            "cannot take the open: length of function_set 100000 is outside 0..63");
  EXPECT_EQ(refusal([&](v1::Open &open) { open.add_egresses(endless); }),
            "cannot take the open: length of an egress name 100000 is outside 1..63");
  EXPECT_EQ(refusal([&](v1::Open &open) { open.add_egresses("f3\nsession up"); }),
            "cannot take the open: an egress name has a character that no name has");
  EXPECT_EQ(refusal([&](v1::Open &open) {
              for (int i = 2; i <= 5; ++i) open.add_egresses("f" + std::to_string(i));
            }),
            "cannot take the open: number of egresses 5 is outside 0..4");
  EXPECT_EQ(server_->refused(), 6u);
  for (const auto &line : log_.all()) EXPECT_LT(line.size(), 1'000u) << "what a peer sends is not echoed into the log";
}

TEST_F(Trust, versions_without_overlap_are_refused_naming_both_ranges) {
  serve();
  expect_refusal(answer_to([](v1::Open &open) {
                   open.set_version(9);
                   open.set_oldest_version(8);
                 }),
                 "8..9");
}

TEST_F(Trust, newer_peer_that_still_speaks_our_version_is_admitted) {
  serve();
  const auto answer = answer_to([](v1::Open &open) { open.set_version(2); });
  ASSERT_TRUE(answer.has_open_reply());
  EXPECT_EQ(answer.open_reply().version(), 1u);
}

TEST_F(Trust, hold_time_is_the_smaller_of_both_and_never_absurd) {
  serve();
  EXPECT_EQ(answer_to([](v1::Open &open) { open.set_hold_time_ms(5'000); }).open_reply().hold_time_ms(), 5'000u);
  EXPECT_EQ(answer_to([](v1::Open &open) { open.set_hold_time_ms(500'000); }).open_reply().hold_time_ms(), 30'000u);
  expect_refusal(answer_to([](v1::Open &open) { open.set_hold_time_ms(0); }), "hold time");
}

TEST_F(Trust, second_session_of_a_name_replaces_the_first) {
  serve();
  const auto first = opened_peer();
  const auto second = opened_peer();
  EXPECT_THAT(next(first, v1::Envelope::kRefusal).refusal().reason(), HasSubstr("replaced"));
  cmas::DeltaSender sender(site_, 1);
  second->send(*sender.next());
  EXPECT_TRUE(next(second, v1::Envelope::kAcknowledge).has_acknowledge());
  EXPECT_EQ(in().state(), "up");
}

TEST_F(Trust, rows_of_another_origin_are_refused_and_stay_theirs) {
  serve();
  ASSERT_TRUE(whole_.put_rows("sma3", "site-3", {"f3"}, {site_row(1, 1, 3).row}));
  put({site_row(1, 1, 8)});
  cmas::DeltaSender sender(site_, 1);
  const auto connection = opened_peer();
  connection->send(*sender.next());
  EXPECT_TRUE(next(connection, v1::Envelope::kRefusal).has_refusal());
  EXPECT_EQ(instance(1)->site, "site-3");
}

TEST_F(Trust, unknown_forwarder_in_rows_is_named_once_with_what_to_do) {
  serve([](auto &options) { options.forwarders = {"f2"}; });
  auto elsewhere = site_row(1, 2, 8);
  elsewhere.row.egresses = {"f2", "f9", "f1"};
  put({site_row(1, 1, 8), elsewhere});
  cmas::DeltaSender sender(site_, 1);
  const auto connection = opened_peer();
  for (int times = 0; times < 3; ++times) {
    sender.restart();
    connection->send(*sender.next());
    ASSERT_TRUE(next(connection, v1::Envelope::kAcknowledge).has_acknowledge());
  }
  std::vector<std::string> said;
  for (const auto &line : log_.all())
    if (line.find("unknown forwarder") != std::string::npos) said.push_back(line);
  ASSERT_EQ(said.size(), 1u);
  EXPECT_THAT(said[0], HasSubstr("egress=f9 peer=f2 site=site-2"));
  EXPECT_THAT(said[0], HasSubstr("add it to `forwarders:`"));
}

TEST_F(Trust, refused_message_changes_nothing) {
  serve();
  ASSERT_TRUE(whole_.put_rows("sma3", "site-3", {"f3"}, {site_row(1, 3, 3).row}));
  put({site_row(1, 1, 8), site_row(1, 2, 8)});
  for (const bool by_snapshot : {true, false}) {
    cmas::SiteTable site = site_;
    cmas::DeltaSender sender(site, 1);
    const auto connection = opened_peer();
    connection->send(*sender.next());
    EXPECT_TRUE(next(connection, v1::Envelope::kAcknowledge).has_acknowledge());
    // Instance 1 changes, instance 2 goes, instance 3 belongs to another.
    ASSERT_TRUE(site.replace({site_row(1, 1, 5), site_row(1, 3, 8)}));
    sender.mark(site.take_dirty());
    if (by_snapshot) sender.restart();
    connection->send(*sender.next());
    EXPECT_THAT(next(connection, v1::Envelope::kRefusal).refusal().reason(), HasSubstr("it belongs to sma3"));
    EXPECT_EQ(instance(1)->offered, 8u);
    EXPECT_TRUE(state(2, cmas::RowState::kActive));
    EXPECT_EQ(instance(3)->site, "site-3");
    EXPECT_EQ(in().rows(), 2u);
  }
}

TEST_F(Trust, message_beyond_the_limit_is_refused_before_it_is_read) {
  serve();
  auto context = tls::client_context(authority_.issue("service-metric-agent", "f2"));
  asio::ssl::stream<asio::ip::tcp::socket> stream(io_, **context);
  stream.next_layer().connect(*parse_endpoint(endpoint_));
  bool shaken = false;
  stream.async_handshake(asio::ssl::stream_base::client, [&](boost::system::error_code failed) { shaken = !failed; });
  ASSERT_TRUE(until([&] { return shaken; }));
  const std::string length = "\x7f\xff\xff\xff";
  std::array<char, 4096> answer;
  std::size_t bytes = 0;
  asio::async_write(stream, asio::buffer(length), [](boost::system::error_code, std::size_t) {});
  stream.async_read_some(asio::buffer(answer), [&](boost::system::error_code, std::size_t n) { bytes = n; });
  ASSERT_TRUE(until([&] { return bytes > 4 && server_->refused() == 1; }));
  v1::Envelope envelope;
  ASSERT_TRUE(envelope.ParseFromArray(answer.data() + 4, static_cast<int>(bytes - 4)));
  EXPECT_THAT(envelope.refusal().reason(), HasSubstr("2147483647"));
}

TEST_F(Trust, bytes_that_are_no_envelope_end_the_session) {
  serve();
  const auto connection = peer(authority_.issue("service-metric-agent", "f2"));
  v1::Envelope first;
  first.mutable_resync();
  connection->send(first);
  EXPECT_THAT(next(connection, v1::Envelope::kRefusal).refusal().reason(), HasSubstr("not an open"));
}

TEST_F(Trust, flood_of_bad_peers_is_no_flood_of_log) {
  serve();
  constexpr int kPeers = 60;
  for (int i = 0; i < kPeers; ++i) {
    asio::ip::tcp::socket socket(io_);
    socket.connect(*parse_endpoint(endpoint_));
    asio::write(socket, asio::buffer(std::string("GET / HTTP/1.1\r\n\r\n")));
    ASSERT_TRUE(until([&] { return server_->refused() == static_cast<uint64_t>(i + 1); }));
  }
  int lines = 0;
  for (const auto &line : log_.all()) lines += line.find("session refused") != std::string::npos;
  EXPECT_GE(lines, 1);
  EXPECT_LE(lines, 20);
}

TEST_F(Trust, connections_without_an_open_are_limited_and_timed_out) {
  serve([](auto &options) {
    options.max_unauthenticated = 2;
    options.handshake_timeout = 1s;  // for a handshake under valgrind, too
  });
  std::vector<asio::ip::tcp::socket> idle;
  for (int i = 0; i < 3; ++i) {
    idle.emplace_back(io_);
    idle.back().connect(*parse_endpoint(endpoint_));
  }
  ASSERT_TRUE(until([&] { return server_->refused() == 1; }));
  EXPECT_THAT(refusal_logged(), HasSubstr("too many connections"));
  ASSERT_TRUE(until([&] { return server_->refused() == 3; })) << "the idle two are timed out";
  dial(client_options());
  EXPECT_TRUE(until([&] { return client_->up(); })) << "there is room again";
}

std::vector<asio::ip::tcp::socket> silent_from(asio::io_context &io, const std::string &source,
                                               const std::string &endpoint, int count) {
  std::vector<asio::ip::tcp::socket> silent;
  for (int i = 0; i < count; ++i) {
    silent.emplace_back(io, asio::ip::tcp::v4());
    silent.back().bind({asio::ip::make_address(source), 0});
    silent.back().connect(*parse_endpoint(endpoint));
  }
  return silent;
}

TEST_F(Trust, silent_connections_of_one_source_are_few_and_keep_nobody_of_another_out) {
  serve();
  const auto silent = silent_from(io_, "127.0.0.66", endpoint_, 100);
  ASSERT_TRUE(until([&] { return server_->refused() == 96; })) << "4 of a source stay";
  const auto began = std::chrono::steady_clock::now();
  dial(client_options());
  ASSERT_TRUE(until([&] { return client_->up(); }));
  EXPECT_LT(std::chrono::steady_clock::now() - began, 2s) << "long before the silent ones are timed out";
  EXPECT_EQ(server_->refused(), 96u) << "and nobody had to go for it";
}

TEST_F(Trust, silent_connections_of_many_sources_do_not_keep_a_newcomer_out) {
  serve();
  std::vector<std::vector<asio::ip::tcp::socket>> silent;
  for (int source = 1; source <= 32; ++source)
    silent.push_back(silent_from(io_, "127.0.1." + std::to_string(source), endpoint_, 4));
  ASSERT_TRUE(until([&] { return server_->refused() == 64; })) << "64 in all stay";
  dial(client_options());
  ASSERT_TRUE(until([&] { return client_->up(); }));
  EXPECT_EQ(server_->refused(), 65u) << "the oldest of the fullest source has gone for it";
}

TEST_F(Trust, silent_connections_from_the_address_of_the_agent_are_few_and_do_not_keep_it_out) {
  serve();
  dial(client_options());
  ASSERT_TRUE(until([&] { return client_->up(); }));
  client_->stop();
  const auto silent = silent_from(io_, "127.0.0.1", endpoint_, 50);
  ASSERT_TRUE(until([&] { return server_->refused() == 45; })) << "4 and one more for the agent that lives there";
  dial(client_options(), 2);
  ASSERT_TRUE(until([&] { return client_->up(); }));
  EXPECT_EQ(server_->refused(), 46u) << "the oldest silent one has gone for it";
}

TEST_F(Trust, source_of_an_agent_is_spared_when_all_places_are_taken) {
  serve([](auto &options) { options.max_unauthenticated = 3; });
  dial(client_options());
  ASSERT_TRUE(until([&] { return client_->up(); }));
  client_->stop();
  auto known = silent_from(io_, "127.0.0.1", endpoint_, 2);
  turn(50ms);
  const auto others = silent_from(io_, "127.0.0.66", endpoint_, 20);
  ASSERT_TRUE(until([&] { return server_->refused() == 19; })) << "they only displace each other";
  for (auto &socket : known) {
    socket.non_blocking(true);
    char byte = 0;
    boost::system::error_code state;
    socket.read_some(asio::buffer(&byte, 1), state);
    EXPECT_EQ(state, asio::error::would_block) << "still open";
  }
}

TEST_F(Trust, addresses_that_one_host_can_choose_from_are_one_source) {
  const auto source = [](const char *text) { return agent::Strangers::source_of(asio::ip::make_address(text)); };
  EXPECT_EQ(source("fd00:1::1"), source("fd00:1::ffff:1"));
  EXPECT_NE(source("fd00:1::1"), source("fd00:1:0:1::1"));
  EXPECT_EQ(source("::ffff:10.0.0.1"), source("10.0.0.1"));
  EXPECT_NE(source("10.0.0.2"), source("10.0.0.1"));
}

TEST_F(Trust, address_in_use_is_named) {
  serve();
  agent::SessionServerOptions options;
  options.listen = endpoint_;
  options.tls = authority_.issue("path-selector", "f1");
  const auto second = agent::SessionServer::open(io_, options, whole_);
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().what, HasSubstr(endpoint_));
}

}  // namespace
}  // namespace catsbpf::test
