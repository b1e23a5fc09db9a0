// SPDX-License-Identifier: Apache-2.0
// Grants on disk: JSON, times as wall clock, because the steady clock ends with the boot.
#include <nlohmann/json.hpp>

#include "agent/selector/request_desk.h"
#include "agent/selector/state_file.h"
#include "cmas/proto/json.h"
#include "util/log.h"

namespace catsbpf::agent {

using namespace std::chrono_literals;
using Json = nlohmann::json;

namespace {

// Between two writes: the more grants, the more of them share one.
std::chrono::milliseconds spacing(std::size_t grants) { return std::chrono::milliseconds(grants / 100); }

int64_t wall_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

void RequestDesk::changed() {
  arm();
  if (file_.empty() || save_due_) return;
  save_due_ = true;
  const auto due = saved_ + spacing(grants_.size());
  if (due <= cmas::Clock::now()) return save();
  saving_.expires_at(due);
  saving_.async_wait([this](const boost::system::error_code &error) {
    if (!error) save();
  });
}

void RequestDesk::save() {
  if (file_.empty() || !save_due_) return;
  save_due_ = false;
  saved_ = cmas::Clock::now();
  std::map<uint64_t, const Grant *> in_order;
  for (const auto &[id, grant] : grants_) in_order[grant.order] = &grant;
  Json all = Json::array();
  for (const auto &[order, pointer] : in_order) {
    const Grant &grant = *pointer;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(grant.expires - cmas::Clock::now());
    all.push_back({{"shown", Json::parse(to_json(grant.shown))},
                   {"cs_id", grant.cs_id},
                   {"origin", grant.origin},
                   {"expires_unix_ms", wall_ms() + left.count()}});
  }
  if (const auto written = write_whole(file_, Json{{"requests", all}}.dump()); !written)
    log::warn("granted requests are not kept: {}", written.error().what);
}

Result<> RequestDesk::load() {
  if (file_.empty()) return done();
  const auto text = read_whole(file_);
  if (!text) return text.error();
  if (!*text) return done();
  const Error broken{"cannot read the granted requests in " + file_, "remove the file; leases end by themselves", EINVAL};
  const Json all = Json::parse(**text, nullptr, false);
  if (!all.is_object() || !all.contains("requests") || !all["requests"].is_array()) return broken;
  try {
    for (const auto &entry : all["requests"]) {
      Grant grant;
      if (!from_json(entry.at("shown").dump(), grant.shown)) return broken;
      grant.cs_id = entry.at("cs_id").get<uint32_t>();
      grant.origin = entry.at("origin").get<std::string>();
      const std::chrono::milliseconds left(entry.at("expires_unix_ms").get<int64_t>() - wall_ms());
      grant.expires = cmas::Clock::now() + left;
      if (left > 0ms && !grants_.contains(grant.shown.id())) add(std::move(grant));
    }
  } catch (const Json::exception &) {
    return broken;
  }
  arm();
  return done();
}

bool RequestDesk::restore_sessions() {
  bool all = true;
  for (const auto &[id, grant] : grants_)
    if (in_force(grant.shown.client(), grant.cs_id) == &grant)
      if (const auto put = put_session(grant); !put) {
        all = false;
        log::debug("session of request {} is not restored yet: {}", id, put.error().what);
      }
  return all;
}

}  // namespace catsbpf::agent
