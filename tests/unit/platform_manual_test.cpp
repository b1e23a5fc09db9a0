// SPDX-License-Identifier: Apache-2.0
// catsbpf-service(5): it names every field of a service, and its example is a complete service that is accepted.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "cmas/platform/service_check.h"
#include "cmas/platform/yaml_file.h"

namespace catsbpf::cmas {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// As a reader sees it.
std::string page() {
  const std::string here = __FILE__;
  std::ifstream file(here.substr(0, here.rfind("/tests/")) + "/cmas/platform/catsbpf-service.5");
  std::ostringstream text;
  text << file.rdbuf();
  std::string shown = text.str();
  for (auto at = shown.find("\\-"); at != std::string::npos; at = shown.find("\\-", at)) shown.erase(at, 1);
  return shown;
}

std::string between(const std::string &text, const std::string &begin, const std::string &end) {
  const auto from = text.find(begin) + begin.size();
  return text.substr(from, text.find(end, from) - from);
}

// What the message, or all of the messages of a list together, leaves out; by path.
void add_missing(const std::vector<const Message *> &messages, const std::string &path,
                 std::vector<std::string> &missing) {
  const auto *type = messages.front()->GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor *field = type->field(i);
    std::vector<const Message *> inner;
    bool there = false;
    for (const Message *message : messages) {
      const auto *reflection = message->GetReflection();
      const int count = field->is_repeated() ? reflection->FieldSize(*message, field) : 0;
      there |= field->is_repeated() ? count > 0 : reflection->HasField(*message, field);
      if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
      if (!field->is_repeated()) inner.push_back(&reflection->GetMessage(*message, field));
      for (int k = 0; k < count; ++k) inner.push_back(&reflection->GetRepeatedMessage(*message, field, k));
    }
    if (!there) missing.push_back(path + field->name());
    if (there && !inner.empty()) add_missing(inner, path + field->name() + ".", missing);
  }
}

TEST(ServiceManual, example_is_accepted_and_leaves_no_field_out) {
  std::istringstream example(between(page(), "\n.nf\n", ".fi\n"));
  YamlFile file("example");
  v1::Service service;
  file.read(service, example);
  ASSERT_TRUE(file.ok()) << file.error().text();
  const auto problems = check(service);
  EXPECT_THAT(problems, IsEmpty()) << refusal(service.service_id(), problems).text();
  std::vector<std::string> missing;
  add_missing({&service}, "", missing);
  EXPECT_THAT(missing, ::testing::ElementsAre("revision"));  // the platform's
}

void expect_named(const google::protobuf::Descriptor &type, const std::string &path, const std::string &text) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor *field = type.field(i);
    const std::string name = path + field->name();
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      EXPECT_THAT(text, HasSubstr(name));
    } else {
      expect_named(*field->message_type(), field->is_repeated() ? "" : name + ".", text);
    }
  }
}

TEST(ServiceManual, names_every_field) {
  expect_named(*v1::Service::descriptor(), "", between(page(), ".SH IDENTITY", ".SH EXAMPLE"));
}

}  // namespace
}  // namespace catsbpf::cmas
