// SPDX-License-Identifier: Apache-2.0
#include "cmas/platform/row.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cmas/proto/json.h"

namespace catsbpf::cmas {

namespace {

using google::protobuf::FieldDescriptor;
using Json = nlohmann::json;

bool is_number(const FieldDescriptor &field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32 || field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64;
}
bool is_text(const FieldDescriptor &field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_STRING && !field.is_repeated();
}

template <class F>
void each_column(F f) {
  const auto *type = v1::Service::descriptor();
  for (int i = 0; i < type->field_count(); ++i) f(i, *type->field(i));
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return c < 0x80 ? std::tolower(c) : c; });
  return text;
}

}  // namespace

std::string create_services_table() {
  std::string sql = "CREATE TABLE services (";
  each_column([&](int i, const FieldDescriptor &field) {
    sql += (i ? ", " : "") + field.name() + (is_number(field) ? " INTEGER" : " TEXT");
    if (field.name() == "service_id") sql += " PRIMARY KEY NOT NULL";
    if (field.name() == "cs_id" || field.name() == "revision") sql += " NOT NULL UNIQUE";
  });
  return sql + ") STRICT";
}

std::string select_services() {
  std::string sql = "SELECT ";
  each_column([&](int i, const FieldDescriptor &field) { sql += (i ? ", " : "") + field.name(); });
  return sql + " FROM services";
}

Result<v1::Service> read_row(const Statement &row) {
  Json json = Json::object();
  each_column([&](int i, const FieldDescriptor &field) {
    const auto text = row.text(i);
    if (!text) return;
    if (is_number(field)) {
      json[field.name()] = row.integer(i);
    } else if (is_text(field)) {
      json[field.name()] = *text;
    } else {
      json[field.name()] = Json::parse(*text, nullptr, false);
    }
  });
  v1::Service service;
  const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (auto ok = from_json(text, service); !ok) return Error{"a row cannot be read: " + ok.error().what};
  return service;
}

Result<> write_row(Database &database, const v1::Service &service) {
  std::string marks;
  each_column([&](int i, const FieldDescriptor &) { marks += i ? ", ?" : "?"; });
  const Json json = Json::parse(to_json(service), nullptr, false);
  auto statement = database.prepare("INSERT OR REPLACE INTO services VALUES (" + marks + ")");
  each_column([&](int, const FieldDescriptor &field) {
    const auto value = json.find(field.name());
    if (value == json.end()) {
      statement.bind(std::optional<std::string>{});
    } else if (is_number(field)) {
      statement.bind(value->get<std::int64_t>());
    } else {
      statement.bind(is_text(field) ? value->get<std::string>() : value->dump());
    }
  });
  return statement.run();
}

bool matches(const v1::Service &service, const std::string &search) {
  std::string haystack = std::to_string(service.cs_id());
  const auto add = [&](const std::string &text) { haystack += "\n" + text; };
  for (const auto &text : {service.service_id(), service.service_name(), service.service_description(),
                           service.service_running_code(), service.computing_time().text()})
    add(text);
  for (const auto *list : {&service.input(), &service.computing_requirement(), &service.storage_requirement(),
                           &service.software_dependency()})
    for (const auto &text : *list) add(text);
  haystack = lower(std::move(haystack));
  std::istringstream words(lower(search));
  for (std::string word; words >> word;)
    if (haystack.find(word) == std::string::npos) return false;
  return true;
}

}  // namespace catsbpf::cmas
