// SPDX-License-Identifier: Apache-2.0
// Rows over a real TLS session: snapshot, deltas, resync, silence, return.
#include "tests/unit/session_fixture.h"

namespace catsbpf::test {
namespace {

using cmas::RowState;
using ::testing::HasSubstr;
using Rows = SessionTest;

TEST_F(Rows, snapshot_then_delta_reach_the_whole_table) {
  serve();
  put({site_row(1, 1, 8), site_row(2, 2, 4)});
  bool synced = false;
  server_->on_synced([&] { synced = true; });
  dial(client_options(), 7);
  ASSERT_TRUE(until([&] { return client_->acknowledged() == 1; }));
  EXPECT_EQ(instance(1)->offered, 8u);
  EXPECT_EQ(instance(1)->site, "site-2");
  EXPECT_EQ(instance(1)->egress, "f2");
  EXPECT_FALSE(synced) << "sma3 has not come";
  EXPECT_THAT(server_->unsynced(), ::testing::ElementsAre("sma3"));

  ASSERT_TRUE(site_.apply({1, 1}, {.gas = 0}));
  const auto carried = changed();
  EXPECT_EQ(carried.epoch, 7u);
  EXPECT_EQ(carried.sequence, 2u);
  EXPECT_GT(carried.wire_bytes, 4u);
  EXPECT_LE(carried.wire_bytes, 32u) << "one changed row, framing included";
  ASSERT_TRUE(until([&] { return client_->acknowledged() == 2; }));
  EXPECT_EQ(instance(1)->offered, 0u);
  EXPECT_EQ(touched_.back().sequence, 2u);
  EXPECT_EQ(touched_.back().epoch, 7u);
  EXPECT_TRUE(touched_.back().services.contains(1));
  EXPECT_EQ(in().state(), "up");
  EXPECT_EQ(client_->status().state(), "up");
}

TEST_F(Rows, all_synced_when_the_last_configured_agent_has_sent_its_snapshot) {
  serve([](auto &options) { options.agents.pop_back(); });
  int synced = 0;
  server_->on_synced([&] { ++synced; });
  EXPECT_FALSE(server_->all_synced());
  dial(client_options());
  ASSERT_TRUE(until([&] { return synced == 1; })) << "an empty table is a snapshot too";
  EXPECT_TRUE(server_->all_synced());
}

TEST_F(Rows, without_configured_agents_all_are_synced) {
  serve([](auto &options) { options.agents.clear(); });
  bool synced = false;
  server_->on_synced([&] { synced = true; });
  EXPECT_TRUE(until([&] { return synced; }));
}

TEST_F(Rows, ten_thousand_rows_come_in_one_snapshot) {
  serve();
  std::vector<cmas::SiteRow> rows;
  for (uint32_t i = 1; i <= 10'000; ++i) rows.push_back(site_row(1 + i % 1000, i, i % 100, i / 7.0));
  put(rows);
  const auto began = std::chrono::steady_clock::now();
  dial(client_options());
  ASSERT_TRUE(until([&] { return client_->acknowledged() == 1; }));
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - began;
  EXPECT_EQ(whole_.all().size(), 10'000u);
  EXPECT_EQ(instance(9'999)->cost, 9'999 / 7.0);
  RecordProperty("milliseconds", std::to_string(took.count()));
}

TEST_F(Rows, removed_row_is_dead_and_its_flows_may_move) {
  serve();
  put({site_row(1, 1, 8), site_row(1, 2, 8)});
  dial(client_options());
  ASSERT_TRUE(until([&] { return instance(2).has_value(); }));
  ASSERT_TRUE(site_.apply({1, 2}, {.remove = true}));
  changed();
  EXPECT_TRUE(until([&] { return state(2, RowState::kDead); }));
  EXPECT_TRUE(state(1, RowState::kActive));
}

TEST_F(Rows, lost_message_is_followed_by_resync_and_a_snapshot) {
  serve();
  put({site_row(1, 1, 8)});
  cmas::DeltaSender sender(site_, 1);
  const auto connection = opened_peer();
  connection->send(*sender.next());
  ASSERT_TRUE(until([&] { return instance(1).has_value(); }));

  ASSERT_TRUE(site_.apply({1, 1}, {.gas = 5}));
  sender.mark(site_.take_dirty());
  (void)sender.next();  // never arrives
  ASSERT_TRUE(site_.apply({1, 1}, {.cost = 3}));
  sender.mark(site_.take_dirty());
  connection->send(*sender.next());
  EXPECT_THAT(next(connection, v1::Envelope::kResync).resync().reason(), HasSubstr("does not follow"));
  EXPECT_EQ(instance(1)->offered, 8u) << "nothing is taken before the snapshot";
  sender.restart();
  connection->send(*sender.next());
  ASSERT_TRUE(until([&] { return instance(1)->offered == 5 && instance(1)->cost == 3; }));
  EXPECT_EQ(in().resyncs(), 1u);
  EXPECT_EQ(in().refused(), 0u);
}

TEST_F(Rows, keep_alive_reveals_a_lost_last_message) {
  serve();
  put({site_row(1, 1, 8)});
  cmas::DeltaSender sender(site_, 1);
  const auto connection = opened_peer();
  connection->send(*sender.next());
  ASSERT_TRUE(until([&] { return instance(1).has_value(); }));
  v1::Envelope envelope;
  envelope.mutable_keep_alive()->set_epoch(1);
  envelope.mutable_keep_alive()->set_sequence(sender.sequence() + 1);
  connection->send(envelope);
  EXPECT_TRUE(next(connection, v1::Envelope::kResync).has_resync());
}

TEST_F(Rows, resync_that_is_not_answered_is_a_silence) {
  serve([](auto &options) {
    options.freeze_after = 40ms;
    options.hold_time = 1s;
  });
  put({site_row(1, 1, 8)});
  cmas::DeltaSender sender(site_, 1);
  const auto connection = opened_peer();
  connection->send(*sender.next());
  ASSERT_TRUE(until([&] { return state(1, RowState::kActive); }));
  v1::Envelope alive;
  alive.mutable_keep_alive()->set_epoch(1);
  alive.mutable_keep_alive()->set_sequence(sender.sequence() + 1);
  connection->send(alive);
  ASSERT_TRUE(next(connection, v1::Envelope::kResync).has_resync());
  ASSERT_TRUE(until([&] { return state(1, RowState::kFrozen); })) << "though its keep-alives come";
  EXPECT_THAT(in().reason(), HasSubstr("resync asked for: keep-alive names a message that never came"));
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (instance(1) && !connection->closed() && std::chrono::steady_clock::now() < end) {
    connection->send(alive);
    turn(10ms);
  }
  EXPECT_EQ(in().state(), "withdrawn");
  sender.restart();
  connection->send(*sender.next());
  ASSERT_TRUE(until([&] { return state(1, RowState::kActive); })) << "the same session may still answer";
  EXPECT_EQ(in().state(), "up");
  EXPECT_EQ(in().reason(), "");
}

TEST_F(Rows, client_answers_resync_with_a_snapshot) {
  serve();
  put({site_row(1, 1, 8)});
  dial(client_options());
  ASSERT_TRUE(until([&] { return client_->acknowledged() == 1; }));
  // The C-PS restarts with an empty memory: what it hears first must be all.
  server_.reset();
  whole_ = {};
  serve();
  ASSERT_TRUE(until([&] { return instance(1).has_value(); }));
  EXPECT_EQ(in().epoch(), 1u);
  EXPECT_EQ(in().resyncs(), 0u);
}

TEST_F(Rows, messages_of_a_newer_version_are_passed_over_at_both_ends) {
  serve();
  put({site_row(1, 1, 8)});
  const auto connection = opened_peer();
  v1::Envelope unknown;  // a body with a number that we do not know
  unknown.GetReflection()->MutableUnknownFields(&unknown)->AddLengthDelimited(99, "new");
  connection->send(unknown);
  cmas::DeltaSender sender(site_, 1);
  connection->send(*sender.next());
  EXPECT_TRUE(next(connection, v1::Envelope::kAcknowledge).has_acknowledge());
  EXPECT_EQ(in().refused(), 0u);
}

TEST_F(Rows, lost_session_freezes_rows_then_withdraws_them) {
  serve([](auto &options) {
    options.freeze_after = 40ms;
    options.hold_time = 200ms;
  });
  put({site_row(1, 1, 8)});
  dial(client_options());
  ASSERT_TRUE(until([&] { return state(1, RowState::kActive); }));
  client_->stop();
  ASSERT_TRUE(until([&] { return in().state() != "up"; }));
  EXPECT_TRUE(state(1, RowState::kActive)) << "in use until freeze_after";
  EXPECT_THAT(in().reason(), HasSubstr("stopping"));
  ASSERT_TRUE(until([&] { return state(1, RowState::kFrozen); }));
  EXPECT_EQ(in().state(), "frozen");
  ASSERT_TRUE(until([&] { return !state(1, RowState::kFrozen); }));
  EXPECT_FALSE(state(1, RowState::kActive));
  EXPECT_EQ(in().state(), "withdrawn");
  dial(client_options(), 2);
  ASSERT_TRUE(until([&] { return state(1, RowState::kActive); })) << "its return brings them back";
  EXPECT_EQ(in().state(), "up");
}

TEST_F(Rows, sessions_that_send_no_snapshot_do_not_prolong_a_silence) {
  serve([](auto &options) {
    options.freeze_after = 150ms;
    options.hold_time = 400ms;
  });
  put({site_row(1, 1, 8)});
  cmas::DeltaSender sender(site_, 1);
  auto connection = opened_peer();
  connection->send(*sender.next());
  ASSERT_TRUE(until([&] { return state(1, RowState::kActive); }));
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (in().state() != "withdrawn" && std::chrono::steady_clock::now() < end) {
    connection->close("and again");
    connection = opened_peer();
  }
  EXPECT_EQ(in().state(), "withdrawn");
  EXPECT_FALSE(instance(1));
  sender.restart();
  connection->send(*sender.next());
  EXPECT_TRUE(until([&] { return state(1, RowState::kActive); })) << "a snapshot ends it";
}

TEST_F(Rows, epoch_of_a_far_future_locks_nobody_out) {
  serve();
  put({site_row(1, 1, 8)});
  cmas::DeltaSender future(site_, std::numeric_limits<uint64_t>::max());
  const auto connection = opened_peer();
  connection->send(*future.next());
  ASSERT_TRUE(until([&] { return state(1, RowState::kActive); }));
  ASSERT_TRUE(site_.apply({1, 1}, {.gas = 5}));
  dial(client_options(), 2);  // while that session is still there
  ASSERT_TRUE(until([&] { return client_->acknowledged() == 1; }));
  EXPECT_EQ(instance(1)->offered, 5u);
  EXPECT_EQ(in().epoch(), 2u);
  EXPECT_EQ(in().refused(), 0u);
}

TEST_F(Rows, return_before_the_hold_time_thaws) {
  serve([](auto &options) { options.freeze_after = 10ms; });
  put({site_row(1, 1, 8)});
  dial(client_options());
  ASSERT_TRUE(until([&] { return state(1, RowState::kActive); }));
  client_->stop();
  ASSERT_TRUE(until([&] { return state(1, RowState::kFrozen); }));
  dial(client_options(), 2);
  ASSERT_TRUE(until([&] { return state(1, RowState::kActive); }));
  EXPECT_EQ(in().epoch(), 2u);
}

TEST_F(Rows, silent_peer_on_an_open_connection_is_frozen_and_withdrawn) {
  serve([](auto &options) { options.hold_time = 150ms; });
  put({site_row(1, 1, 8)});
  cmas::DeltaSender sender(site_, 1);
  const auto connection = opened_peer();  // sends no keep-alives
  connection->send(*sender.next());
  ASSERT_TRUE(until([&] { return state(1, RowState::kActive); }));
  ASSERT_TRUE(until([&] { return state(1, RowState::kFrozen); }));
  EXPECT_FALSE(connection->closed());
  ASSERT_TRUE(until([&] { return in().state() == "withdrawn"; }));
  EXPECT_THAT(in().reason(), HasSubstr("hold time"));
}

TEST_F(Rows, keep_alives_hold_an_idle_session) {
  serve([](auto &options) { options.hold_time = 90ms; });
  put({site_row(1, 1, 8)});
  dial(client_options());
  ASSERT_TRUE(until([&] { return client_->up() && instance(1); }));
  turn(500ms);
  EXPECT_EQ(in().state(), "up");
  EXPECT_TRUE(state(1, RowState::kActive));
  EXPECT_EQ(client_->status().sequence(), 1u) << "it is the same session";
}

TEST_F(Rows, restarted_path_selector_is_found_again_within_a_second) {
  serve();
  put({site_row(1, 1, 8)});
  dial(client_options());
  ASSERT_TRUE(until([&] { return client_->up() && instance(1); }));
  server_.reset();
  ASSERT_TRUE(until([&] { return !client_->up(); }));
  const auto began = std::chrono::steady_clock::now();
  serve();
  ASSERT_TRUE(until([&] { return client_->up(); }));
  EXPECT_LT(std::chrono::steady_clock::now() - began, 1s);
}

TEST_F(Rows, changes_behind_a_slow_reader_coalesce) {
  // The C-PS end is played here and reads nothing at first.
  asio::ip::tcp::acceptor acceptor(io_, *parse_endpoint("127.0.0.1:0"));
  endpoint_ = to_text(acceptor.local_endpoint());
  std::vector<cmas::SiteRow> rows;
  for (uint32_t i = 1; i <= 2'000; ++i) rows.push_back(site_row(1, i, 0));
  put(rows);
  dial(client_options());
  std::optional<asio::ip::tcp::socket> socket;
  acceptor.async_accept(
      [&](boost::system::error_code, asio::ip::tcp::socket accepted) { socket.emplace(std::move(accepted)); });
  ASSERT_TRUE(until([&] { return socket.has_value(); }));
  auto context = tls::server_context(authority_.issue("path-selector", "f1"), tls::PeerCertificate::kRequired);
  const auto connection = std::make_shared<agent::Connection>(std::move(*socket), *context);
  ASSERT_TRUE(await(connection->handshake(asio::ssl::stream_base::server, {"lab.cats", "service-metric-agent", {}})));
  v1::Envelope reply;
  reply.mutable_open_reply()->set_version(1);
  reply.mutable_open_reply()->set_name("f1");
  reply.mutable_open_reply()->set_hold_time_ms(30'000);
  connection->send(reply);
  ASSERT_TRUE(until([&] { return client_->up(); }));

  constexpr uint32_t kRounds = 3'000;
  for (uint32_t round = 1; round <= kRounds; ++round) {
    for (uint32_t i = 1; i <= 2'000; i += 2) ASSERT_TRUE(site_.apply({1, i}, {.gas = round}));
    changed();
    io_.poll();
  }
  EXPECT_LT(client_->status().sequence(), kRounds) << "the reader was slow, so messages were joined";
  cmas::DeltaReceiver receiver;
  const auto done = [&] {
    const auto row = receiver.rows().find({1, 1'999});
    return row != receiver.rows().end() && row->second.offered == kRounds;
  };
  while (!done()) {
    const auto envelope = await(connection->read());
    ASSERT_TRUE(envelope) << envelope.error().text();
    if (envelope->has_snapshot()) {
      ASSERT_TRUE(receiver.take(envelope->snapshot()));
    } else if (envelope->has_delta()) {
      ASSERT_TRUE(receiver.take(envelope->delta()));
    }
  }
  for (const auto &[key, row] : receiver.rows()) EXPECT_EQ(row.offered, key.csci_id % 2 ? kRounds : 0);
}

}  // namespace
}  // namespace catsbpf::test
