// SPDX-License-Identifier: Apache-2.0
// Grants on disk: JSON, times as wall clock, because the steady clock ends with the boot. The whole file is
// written anew each time, for all changes that came while the last one was written.
#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <nlohmann/json.hpp>

#include "agent/selector/request_desk.h"
#include "agent/selector/state_file.h"
#include "cmas/proto/json.h"
#include "util/log.h"

namespace catsbpf::agent {

using namespace std::chrono_literals;
namespace asio = boost::asio;
using Json = nlohmann::json;

namespace {

constexpr auto kLazy = 100ms;    // for what no answer waits for
constexpr auto kRetry = 1s;      // after a write that failed
constexpr int kShareOfLoop = 4;  // writes pause so many times as long as it took to compose the last one
constexpr int64_t kLongestMs = int64_t{std::numeric_limits<uint32_t>::max()} * 1000;  // of a lease

int64_t wall_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Error nonsense(const std::string &field) { return Error{field + " makes no sense", {}, EINVAL}; }

std::string brief(const std::string &text) { return text.size() > 200 ? text.substr(0, 200) + "..." : text; }

bool is_address(const std::string &text) {
  boost::system::error_code failed;
  asio::ip::make_address(text, failed);
  return !failed;
}

}  // namespace

void RequestDesk::changed() {
  arm();
  save_at(cmas::Clock::now() + kLazy);
}

asio::awaitable<Result<>> RequestDesk::stored() {
  if (file_.empty()) co_return done();
  if (!batch_) batch_ = std::make_shared<Batch>(io_);
  const auto batch = batch_;  // the desk may go before it
  save_at(cmas::Clock::now());
  co_await batch->written.async_wait(asio::as_tuple(asio::use_awaitable));
  co_return batch->result.value_or(Error{"this agent stops"});
}

void RequestDesk::save_at(cmas::TimePoint due) {
  if (file_.empty()) return;
  save_due_ = true;
  due = std::max(due, composed_ + kShareOfLoop * composing_took_);
  if (due >= save_at_) return;
  save_at_ = due;
  saving_.expires_at(due);
  saving_.async_wait([this, alive = std::weak_ptr(alive_)](const boost::system::error_code &error) {
    if (!error && !alive.expired()) begin_save();
  });
}

// By the worker: the disk may take its time, deltas and probes do not wait for it.
void RequestDesk::begin_save() {
  save_at_ = cmas::TimePoint::max();
  if (saving_now_) return;  // the next one follows at once
  saving_now_ = true;
  worker_.run([file = file_, text = take_text()] { return write_whole(file, text); },
              [this, alive = std::weak_ptr(alive_), batch = std::exchange(batch_, nullptr)](Result<> written) {
                if (batch) batch->settle(written);
                if (alive.expired()) return;
                saving_now_ = false;
                saved(written);
                if (written && save_due_) begin_save();
              });
}

void RequestDesk::save() {
  if (file_.empty()) return;
  worker_.drain();
  if (!save_due_) return;
  const auto written = write_whole(file_, take_text());
  if (const auto batch = std::exchange(batch_, nullptr)) batch->settle(written);
  saved(written);
}

std::string RequestDesk::take_text() {
  save_due_ = false;
  save_at_ = cmas::TimePoint::max();
  saving_.cancel();
  ++writes_;
  const auto begun = cmas::Clock::now();
  std::string composed = text();
  composed_ = cmas::Clock::now();
  composing_took_ = composed_ - begun;
  return composed;
}

void RequestDesk::saved(const Result<> &written) {
  if (!written) {
    if (not_kept_.empty())
      log::warn("granted requests are not kept: {}; it is tried again until it succeeds", written.error().what);
    not_kept_ = written.error().what;
    save_at(cmas::Clock::now() + kRetry);
  } else if (!not_kept_.empty()) {
    log::info("granted requests are kept again: file={}", file_);
    not_kept_.clear();
  }
}

std::string RequestDesk::text() const {
  std::vector<const Grant *> in_order;
  for (const auto &[id, grant] : grants_) in_order.push_back(&grant);
  std::sort(in_order.begin(), in_order.end(), [](const Grant *a, const Grant *b) { return a->order < b->order; });
  const auto now = cmas::Clock::now();
  const int64_t wall = wall_ms();
  std::string text = "{\"requests\":[";
  for (const Grant *grant : in_order) {
    if (grant != in_order.front()) text += ',';
    text += grant->kept +
            std::to_string(wall + std::chrono::duration_cast<std::chrono::milliseconds>(grant->expires - now).count()) +
            '}';
  }
  return text + "]}";
}

std::string RequestDesk::entry_of(const Grant &grant) {
  return "{\"shown\":" + to_json(grant.shown) + ",\"cs_id\":" + std::to_string(grant.cs_id) +
         ",\"origin\":" + Json(grant.origin).dump(-1, ' ', false, Json::error_handler_t::replace) +
         ",\"expires_unix_ms\":";
}

// Fails naming the field. What has expired is no error: its lease is over.
Result<RequestDesk::Grant> RequestDesk::read_grant(const std::string &entry) {
  const Json json = Json::parse(entry, nullptr, false);
  const auto has = [&](const char *field, auto is) {
    return json.is_object() && json.contains(field) && (json[field].*is)();
  };
  Grant grant;
  if (!has("shown", &Json::is_object) || !from_json(json["shown"].dump(), grant.shown)) return nonsense("shown");
  if (grant.shown.id() == 0 || grant.shown.id() >= uint64_t{1} << 53) return nonsense("id");
  if (grant.shown.csci_id() == 0) return nonsense("csci_id");
  if (grant.shown.gas() == 0 || grant.shown.gas() > cmas::SiteTable::kMaxGas) return nonsense("gas");
  if (!is_address(grant.shown.client())) return nonsense("client");
  if (!has("cs_id", &Json::is_number_unsigned)) return nonsense("cs_id");
  const uint64_t cs_id = json["cs_id"].get<uint64_t>();
  if (cs_id == 0 || cs_id > std::numeric_limits<uint32_t>::max()) return nonsense("cs_id");
  grant.cs_id = static_cast<uint32_t>(cs_id);
  if (!has("origin", &Json::is_string) || json["origin"].get_ref<const std::string &>().empty())
    return nonsense("origin");
  grant.origin = json["origin"].get<std::string>();
  if (!has("expires_unix_ms", &Json::is_number_unsigned)) return nonsense("expires_unix_ms");
  const uint64_t expires = json["expires_unix_ms"].get<uint64_t>();
  const int64_t wall = wall_ms();
  if (expires > static_cast<uint64_t>(wall + kLongestMs)) return nonsense("expires_unix_ms");
  grant.expires = cmas::Clock::now() + std::chrono::milliseconds(static_cast<int64_t>(expires) - wall);
  return grant;
}

void RequestDesk::load() {
  if (file_.empty()) return;
  const std::string lost = "granted requests are forgotten, their leases end by themselves";
  const auto text = read_whole(file_);
  if (!text) return set_aside(file_, text.error().what, lost);
  if (!*text) return;
  const Json all = Json::parse(**text, nullptr, false);
  if (!all.is_object() || !all.contains("requests") || !all["requests"].is_array())
    return set_aside(file_, "it is no JSON list of requests", lost);
  for (const auto &entry : all["requests"]) {
    const std::string text_of_entry = entry.dump(-1, ' ', false, Json::error_handler_t::replace);
    auto grant = read_grant(text_of_entry);
    if (!grant) {
      log::warn("{}: skipped a request: {}: {}", file_, grant.error().what, brief(text_of_entry));
      continue;
    }
    if (grants_.size() >= kMaxGrants) {
      log::warn("{}: holds more than {} requests, the rest is skipped", file_, kMaxGrants);
      break;
    }
    if (grant->expires > cmas::Clock::now() && !grants_.contains(grant->shown.id())) add(std::move(*grant));
  }
  arm();
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
