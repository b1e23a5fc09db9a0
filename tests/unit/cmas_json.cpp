// SPDX-License-Identifier: Apache-2.0
// The JSON mapping of the APIs.
#include "cmas/proto/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <cmath>
#include <limits>

#include "cmas/proto/api.pb.h"
#include "cmas/proto/service.pb.h"
#include "cmas/proto/session.pb.h"

namespace catsbpf {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

template <class Message>
std::string error_of(const std::string &json) {
  Message message;
  const auto parsed = from_json(json, message);
  return parsed.ok() ? "" : parsed.error().what;
}

TEST(Json, prints_field_names_as_in_the_proto_and_defaults_too) {
  v1::Acknowledgement answer;
  answer.set_service_id("AR1");
  answer.set_gas(2);
  answer.set_real_cost(4);
  EXPECT_EQ(to_json(answer), R"({"service_id":"AR1","gas":2,"real_cost":4,"real_delay_ms":0,"success":false})");
}

TEST(Json, pretty_is_the_same_value_on_lines) {
  v1::Bypass bypass;
  bypass.set_on(true);
  EXPECT_EQ(to_json(bypass, true), "{\n  \"on\": true\n}");
}

TEST(Json, sixty_four_bit_numbers_are_numbers_on_all_levels) {
  v1::PublicationList list;
  auto &publication = *list.add_publications();
  publication.set_epoch(std::numeric_limits<uint64_t>::max());
  publication.add_applied()->set_received_ns(1234567890123456789);
  const std::string json = to_json(list);
  EXPECT_THAT(json, HasSubstr("\"epoch\":18446744073709551615"));
  EXPECT_THAT(json, HasSubstr("\"received_ns\":1234567890123456789"));
  EXPECT_THAT(json, Not(HasSubstr("\"18446744073709551615\"")));
}

TEST(Json, sixty_four_bit_numbers_come_back_as_numbers_and_as_strings) {
  v1::ServiceFinished finished;
  ASSERT_TRUE(from_json(R"({"reservation":18446744073709551615})", finished).ok());
  EXPECT_EQ(finished.reservation(), std::numeric_limits<uint64_t>::max());
  ASSERT_TRUE(from_json(R"({"reservation":"18446744073709551614"})", finished).ok());
  EXPECT_EQ(finished.reservation(), std::numeric_limits<uint64_t>::max() - 1);
}

TEST(Json, text_that_looks_like_a_number_stays_text) {
  v1::ApiError error;
  error.set_error("18446744073709551615");
  EXPECT_THAT(to_json(error), HasSubstr("\"error\":\"18446744073709551615\""));
}

TEST(Json, what_was_printed_can_be_read) {
  v1::Service service;
  service.set_service_id("ST1");
  service.set_cs_id(3);
  service.add_input("speech");
  service.add_input("action capture");
  service.mutable_computing_time()->set_max_us(1'000'000);
  service.mutable_computing_time()->set_parallel_fraction(0.1);
  service.mutable_policy()->set_a(1.0 / 3);
  service.add_locators()->set_prefix("fd00:99::3");
  service.set_revision(1ull << 60);
  for (const bool pretty : {false, true}) {
    v1::Service back;
    ASSERT_TRUE(from_json(to_json(service, pretty), back).ok());
    EXPECT_EQ(back.SerializeAsString(), service.SerializeAsString());
  }
}

TEST(Json, text_beyond_ascii_survives) {
  v1::Service service;
  service.set_service_name("Simultanübersetzung 同声传译 🎧 \"quoted\" \\ \n\t");
  const std::string json = to_json(service);
  EXPECT_THAT(json, HasSubstr("Simultanübersetzung 同声传译 🎧"));
  v1::Service back;
  ASSERT_TRUE(from_json(json, back).ok());
  EXPECT_EQ(back.service_name(), service.service_name());
  ASSERT_TRUE(from_json(R"({"service_name":"\u540c\u58f0 \ud83c\udfa7"})", back).ok());
  EXPECT_EQ(back.service_name(), "同声 🎧");
}

TEST(Json, bytes_that_are_no_utf8_are_refused_or_replaced_never_passed_on) {
  v1::Service service;
  EXPECT_FALSE(from_json("{\"service_name\":\"a\xff\xfe\"}", service).ok());
  EXPECT_FALSE(from_json("{\"service_name\":\"\xc3\"}", service).ok());
  EXPECT_FALSE(from_json("{\"service_name\":\"\\ud83c\"}", service).ok()) << "half a surrogate pair";
}

TEST(Json, text_of_unknown_origin_is_printed_as_valid_json) {
  v1::ApiError error;
  error.set_error("tls: bad\xff\xfename");
  EXPECT_THAT(to_json(error), AllOf(HasSubstr("tls: bad"), HasSubstr("name"), Not(HasSubstr("\xff"))));
}

TEST(Json, unknown_field_is_an_error_that_names_it) {
  EXPECT_EQ(error_of<v1::ServiceRequest>(R"({"service_id":"AR1","gaz":2})"),
            "not a ServiceRequest: unknown field 'gaz'");
  EXPECT_EQ(error_of<v1::SiteDeltas>(R"({"deltas":[{"csci_id":1},{"gas_chnge":1}]})"),
            "not a SiteDeltas: deltas[1]: unknown field 'gas_chnge'");
}

TEST(Json, wrong_type_is_an_error_that_names_the_field) {
  EXPECT_THAT(error_of<v1::ServiceRequest>(R"({"gas":"many"})"), HasSubstr("gas"));
  EXPECT_THAT(error_of<v1::ServiceRequest>(R"({"cost":true})"), HasSubstr("cost"));
  EXPECT_THAT(error_of<v1::ServiceRequest>(R"({"service_id":7})"), HasSubstr("service_id"));
  EXPECT_THAT(error_of<v1::SiteTable>(R"({"rows":7})"), HasSubstr("rows"));
}

TEST(Json, number_out_of_range_is_an_error) {
  EXPECT_EQ(error_of<v1::ServiceRequest>(R"({"gas":-1})"),
            "not a ServiceRequest: gas: invalid value -1 for type uint32");
  EXPECT_THAT(error_of<v1::ServiceRequest>(R"({"gas":4294967296})"), HasSubstr("gas"));
  EXPECT_THAT(error_of<v1::ServiceRequest>(R"({"gas":1.5})"), HasSubstr("gas"));
  EXPECT_THAT(error_of<v1::SiteDeltas>(R"({"deltas":[{"gas_change":3000000000}]})"), HasSubstr("gas_change"));
}

TEST(Json, broken_json_is_one_line_of_error) {
  for (const char *broken : {"", "{", "}", "[1]", "\"text\"", "7", "{\"gas\":}", "{\"gas\":1,}x", "{'gas':1",
                             "{\"gas\" 1}", "\n\n{\"gas\":\n\n"}) {
    const std::string error = error_of<v1::ServiceRequest>(broken);
    EXPECT_THAT(error, StartsWith("not a ServiceRequest: ")) << broken;
    EXPECT_THAT(error, Not(HasSubstr("\n")));
  }
  EXPECT_EQ(error_of<v1::ServiceRequest>("{"),
            "not a ServiceRequest: broken json: unexpected end of string. expected an object key or }");
}

TEST(Json, refused_value_is_quoted_in_part_only) {
  const std::string error = error_of<v1::ServiceRequest>("{\"gas\":\"" + std::string(1'000'000, 'x') + "\"}");
  EXPECT_THAT(error, StartsWith("not a ServiceRequest: gas: 'xxx"));
  EXPECT_LT(error.size(), 400u);
}

TEST(Json, error_says_where_the_fields_are_described) {
  v1::ServiceRequest request;
  EXPECT_EQ(from_json("{", request).error().hint, "fields of ServiceRequest: service_id, gas, cost, delay_ms, lease_s");
  v1::SiteDeltas deltas;
  EXPECT_THAT(from_json(R"({"deltas": [{"gaz": 1}]})", deltas).error().hint,
              StartsWith("fields of SiteDelta: csci_id, "))
      << "of the message where it is wrong";
}

TEST(Json, nesting_without_end_is_an_error_and_no_crash) {
  EXPECT_NE(error_of<v1::ServiceRequest>(std::string(200'000, '[')), "");
  EXPECT_NE(error_of<v1::ServiceRequest>("{\"a\":" + std::string(200'000, '{')), "");
}

TEST(Json, field_given_twice_is_an_error) {
  EXPECT_EQ(error_of<v1::ServiceRequest>(R"({"gas":1,"gas":2})"), "not a ServiceRequest: gas: is given twice");
  EXPECT_EQ(error_of<v1::SiteTable>(R"({"rows":[{"gas":1},{"csci_id":1,"csciId":2}]})"),
            "not a SiteTable: rows[1].csciId: is given twice");
  EXPECT_EQ(error_of<v1::SiteTable>(R"({"rows":[{"gas":1},{"gas":1}]})"), "");
}

TEST(Json, values_of_another_type_name_the_field_and_what_it_takes) {
  EXPECT_EQ(error_of<v1::Bypass>(R"({"on":"yes"})"), "not a Bypass: on: 'yes' is not true or false, without quotes");
  EXPECT_EQ(error_of<v1::Bypass>(R"({"on":"true"})"), "not a Bypass: on: 'true' is not true or false, without quotes");
  EXPECT_NE(error_of<v1::Bypass>(R"({"on":1})"), "");
  EXPECT_EQ(error_of<v1::SiteTable>(R"({"site":"s","rows":[{"gas":1,"egresses":["a"]},{"gas":"5"}]})"),
            "not a SiteTable: rows[1].gas: '5' is not a number, without quotes");
  EXPECT_NE(error_of<v1::SiteTable>(R"({"rows":[{"cost":"1.5"}]})"), "");
  EXPECT_NE(error_of<v1::SiteTable>(R"({"rows":[{"egresses":["a",7]}]})"), "");
  EXPECT_NE(error_of<v1::ServiceRequest>(R"({"service_id":7})"), "");
}

TEST(Json, absence_of_an_optional_number_is_kept) {
  v1::SiteDelta delta;
  ASSERT_TRUE(from_json(R"({"csci_id":1,"gas":0})", delta).ok());
  EXPECT_TRUE(delta.has_gas());
  EXPECT_EQ(delta.gas(), 0u);
  EXPECT_FALSE(delta.has_gas_change());
  EXPECT_FALSE(delta.has_cost());
}

TEST(Json, reading_replaces_what_was_there) {
  v1::ServiceRequest request;
  request.set_service_id("old");
  request.set_gas(9);
  ASSERT_TRUE(from_json(R"({"gas":1})", request).ok());
  EXPECT_EQ(request.service_id(), "");
  EXPECT_EQ(request.gas(), 1u);
}

TEST(Json, camel_case_names_are_read_too) {
  v1::ServiceRequest request;
  ASSERT_TRUE(from_json(R"({"serviceId":"AR1"})", request).ok());
  EXPECT_EQ(request.service_id(), "AR1");
}

TEST(Json, numbers_that_are_none_are_said_as_text) {
  v1::PathStatus path;
  path.set_delay_ms(std::nan(""));
  EXPECT_THAT(to_json(path), HasSubstr("\"delay_ms\":\"NaN\""));
}

TEST(Json, what_may_be_absent_is_printed_only_where_it_is_there) {
  v1::SiteDelta delta;
  delta.set_csci_id(7);
  delta.set_gas(0);
  EXPECT_EQ(to_json(delta), R"({"csci_id":7,"service_id":"","gas":0,"remove":false})");
  EXPECT_EQ(to_json(v1::SiteDeltas()), R"({"deltas":[]})");
}

TEST(Json, pretty_nests_lists_and_objects) {
  v1::Explanation explanation;
  explanation.add_candidates()->set_csci_id(3);
  const std::string json = to_json(explanation, true);
  EXPECT_THAT(json, HasSubstr("  \"candidates\": [\n    {\n      \"csci_id\": 3,\n"));
  EXPECT_THAT(json, HasSubstr("\n    }\n  ],\n"));
  EXPECT_THAT(to_json(v1::SiteDeltas(), true), "{\n  \"deltas\": []\n}");
}

TEST(Json, fractions_survive_to_the_last_bit_and_whole_numbers_have_none) {
  for (const double value : {1.0 / 3, 0.1, 1e-300, 1.7976931348623157e308, 123456789.25, 3e15, 5e-324}) {
    v1::ServiceRequest request, back;
    request.set_cost(value);
    ASSERT_TRUE(from_json(to_json(request), back).ok()) << to_json(request);
    EXPECT_EQ(back.cost(), value);
  }
  v1::ServiceRequest request;
  request.set_cost(-1'000'000);
  EXPECT_THAT(to_json(request), HasSubstr("\"cost\":-1000000,"));
}

// What the writer has no word for: maps, and bytes, which are base64 in JSON.
TEST(Json, schema_holds_nothing_that_the_writer_cannot_say) {
  for (const auto *file : {v1::Status::descriptor()->file(), v1::Service::descriptor()->file()})
    for (int m = 0; m < file->message_type_count(); ++m)
      for (int f = 0; f < file->message_type(m)->field_count(); ++f) {
        const auto &field = *file->message_type(m)->field(f);
        EXPECT_FALSE(field.is_map()) << field.full_name();
        EXPECT_NE(field.type(), google::protobuf::FieldDescriptor::TYPE_BYTES) << field.full_name();
      }
}

// Ten thousand rows are asked for again and again: the answer must not cost many times its length.
TEST(Json, a_long_list_costs_its_text) {
  v1::InstanceList list;
  for (uint32_t i = 0; i < 10'000; ++i) list.add_instances()->set_csci_id(i);
  const auto before = mallinfo2();
  const std::string json = to_json(list);
  const auto after = mallinfo2();
  EXPECT_GT(json.size(), 1'000'000u);
  EXPECT_LT(after.arena + after.hblkhd, before.arena + before.hblkhd + 4 * json.size());
}

}  // namespace
}  // namespace catsbpf
