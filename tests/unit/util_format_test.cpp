// SPDX-License-Identifier: Apache-2.0
// Texts: endpoints, targets, urls, event streams, lines of the log.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "util/endpoint.h"
#include "util/http/sse.h"
#include "util/http/uri.h"
#include "util/log.h"

namespace catsbpf::http {
namespace {

using ::testing::ElementsAre;

TEST(Endpoint, text_goes_both_ways) {
  for (const char *text : {"10.0.0.1:8443", "[fd00::1]:80", "0.0.0.0:0"}) {
    const auto endpoint = parse_endpoint(text);
    ASSERT_TRUE(endpoint) << text;
    EXPECT_EQ(to_text(*endpoint), text);
  }
  EXPECT_EQ(parse_host_port("platform.lab", 443)->port, 443);
  EXPECT_EQ(parse_host_port("[::1]", 443)->host, "::1");
}

TEST(Endpoint, what_is_none_is_refused) {
  for (const char *text : {"", "10.0.0.1", "10.0.0.1:", "10.0.0.1:99999", "10.0.0.1:8x", "fd00::1:80", "[fd00::1]80",
                           "[fd00::1", ":80", "10.0.0.1:-1", "name:80"})
    EXPECT_FALSE(parse_endpoint(text)) << text;
}

TEST(Target, path_and_query_are_decoded_after_they_are_split) {
  const auto target = parse_target("/v1/a%2Fb/c%20d?x=1%262&y=a+b&z");
  ASSERT_TRUE(target);
  EXPECT_THAT(target->segments, ElementsAre("v1", "a/b", "c d"));
  EXPECT_EQ(target->query.at("x"), "1&2");
  EXPECT_EQ(target->query.at("y"), "a b");
  EXPECT_EQ(target->query.at("z"), "");
  EXPECT_EQ(parse_target("http://h:80/v1/x?q")->path, "/v1/x");
  EXPECT_EQ(parse_target("/")->path, "/");
  for (const char *broken : {"", "v1", "*", "/a%2", "/a%zz", "/a%00b", "/?a=%"})
    EXPECT_FALSE(parse_target(broken)) << broken;
  EXPECT_EQ(percent_decode(percent_encode("a/b c%ü")), "a/b c%ü");
}

TEST(Url, schemes_have_their_ports) {
  EXPECT_EQ(parse_url("https://10.0.0.1")->object(), "10.0.0.1:443");
  EXPECT_EQ(parse_url("http://[::1]:8080/")->object(), "[::1]:8080");
  EXPECT_EQ(parse_url("unix:/run/x.sock")->object(), "/run/x.sock");
  for (const char *broken : {"10.0.0.1:80", "https://10.0.0.1/v1", "https://", "unix:x.sock", "ftp://a", "https://a:b"})
    EXPECT_FALSE(parse_url(broken)) << broken;
}

std::vector<Event> parse_in_pieces(const std::string &text, std::size_t piece) {
  EventParser parser;
  std::vector<Event> events;
  for (std::size_t i = 0; i < text.size(); i += piece)
    EXPECT_TRUE(parser.feed(text.substr(i, piece), [&](Event event) { events.push_back(std::move(event)); }));
  return events;
}

TEST(EventStream, format_is_read_back_whatever_the_pieces) {
  const std::string text = format_event("put", "7", "one\ntwo") + format_comment("alive\nstill") +
                           format_event("", "", "") + format_event("end", "8", "x");
  for (std::size_t piece : {1u, 2u, 3u, 1000u}) {
    const auto events = parse_in_pieces(text, piece);
    ASSERT_EQ(events.size(), 3u) << piece;
    EXPECT_EQ(events[0].name, "put");
    EXPECT_EQ(events[0].data, "one\ntwo");
    EXPECT_EQ(events[1].data, "");
    EXPECT_EQ(events[1].id, "7");  // stays until another one comes
    EXPECT_EQ(events[2].id, "8");
  }
}

TEST(EventStream, line_ends_and_fields_are_read_as_the_standard_says) {
  const auto events = parse_in_pieces(
      "\xef\xbb\xbf: comment\r\ndata:a\rdata: b\r\n\r\nid: 3\n\ndata\nevent:e\nnonsense: x\n\ndata: cut off", 1);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].data, "a\nb");
  EXPECT_EQ(events[1].data, "");
  EXPECT_EQ(events[1].name, "e");
  EXPECT_EQ(events[1].id, "3");
}

TEST(EventStream, an_event_without_end_is_given_up) {
  EventParser parser;
  const std::string line = "data: " + std::string(1 << 20, 'x') + "\n";
  bool goes_on = true;
  for (int i = 0; i < 20 && goes_on; ++i) goes_on = parser.feed(line, [](Event) { FAIL(); });
  EXPECT_FALSE(goes_on);
}

TEST(Log, a_message_cannot_forge_another_event) {
  EXPECT_EQ(log::one_event("refused reason=\"\x1b[2J\r\n2026-01-01 error: forged\""),
            "refused reason=\"?[2J?\n    2026-01-01 error: forged\"");
  EXPECT_EQ(log::one_event("ein Grün"), "ein Grün");
  EXPECT_EQ(log::one_event(std::string(8193, 'x')), std::string(8192, 'x') + "... (8193 bytes)");
}

}  // namespace
}  // namespace catsbpf::http
