// SPDX-License-Identifier: Apache-2.0
#include "agent/platform_client/platform_client.h"

#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <map>
#include <optional>
#include <random>

#include "agent/platform_client/cache.h"
#include "cmas/platform/service_check.h"
#include "cmas/proto/json.h"
#include "util/http/uri.h"
#include "util/log.h"

namespace catsbpf {

namespace {

namespace asio = boost::asio;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds kCacheDelay{200};  // changes that come in a burst are written once
constexpr std::size_t kMostNamed = 8;                  // services in a warning

// Held by its own coroutine too, so that it outlives the client by the coroutine's last step.
class Watcher : public std::enable_shared_from_this<Watcher> {
 public:
  Watcher(asio::io_context &io, PlatformClientOptions options, PlatformClientCallbacks callbacks)
      : io_(io),
        options_(std::move(options)),
        callbacks_(std::move(callbacks)),
        write_timer_(io),
        random_(std::random_device{}()) {}

  void load_cache();
  void start();
  void stop();

  bool known() const { return known_; }
  std::uint64_t revision() const { return revision_; }
  const std::string &state() const { return state_; }

 private:
  asio::awaitable<void> run();
  asio::awaitable<void> wait_before_retry();
  void take(const http::Event &event);
  void take_registry(std::uint64_t revision);
  std::vector<std::string> not_in_registry() const;
  void hold_back(std::uint64_t revision, const std::vector<std::string> &services);
  void put(const v1::Service &service);
  void remove(const std::string &service_id);
  void connected(std::uint64_t revision);
  void away(const Result<> &ended);
  void set_state(const std::string &state);
  void write_later();
  void write();
  std::string away_state() const;

  asio::io_context &io_;
  PlatformClientOptions options_;
  PlatformClientCallbacks callbacks_;
  std::map<std::string, v1::Service> services_;
  // The registry's services, while its snapshot is still coming or is not taken; empty: what it says is what we have.
  std::optional<std::map<std::string, v1::Service>> registry_;
  bool whole_ = false;      // the snapshot has come
  bool went_back_ = false;  // and is not taken
  std::uint64_t revision_ = 0;
  bool known_ = false;
  bool stopped_ = false;
  bool unwritten_ = false;
  std::string state_;
  std::string reason_;  // why it was away when that was last logged
  std::chrono::milliseconds wait_{0};
  asio::cancellation_signal cancel_;
  asio::steady_timer write_timer_;
  std::minstd_rand random_;
};

// A service that breaks the rules is left out: better no steering than steering by nonsense.
bool is_good(const v1::Service &service, const char *from) {
  const auto problems = cmas::check(service);
  if (problems.empty()) return true;
  log::warn("platform: ignored a service from the {}: {}", from, cmas::refusal(service.service_id(), problems).what);
  return false;
}

// The revision does not count: a registry that was made anew numbers the same services otherwise.
bool same(v1::Service a, const v1::Service &b) {
  a.set_revision(b.revision());
  return a.SerializeAsString() == b.SerializeAsString();
}

void Watcher::load_cache() {
  if (!options_.cache_file.empty()) {
    auto catalogue = read_cache(options_.cache_file);
    if (!catalogue) log::warn("platform: {} hint=\"{}\"", catalogue.error().what, catalogue.error().hint);
    if (catalogue && *catalogue) {
      for (const auto &service : (*catalogue)->services())
        if (is_good(service, "cached copy")) services_[service.service_id()] = service;
      revision_ = (*catalogue)->revision();
      known_ = true;
    }
  }
  state_ = away_state();
}

void Watcher::start() {
  asio::co_spawn(io_, run(),
                 asio::bind_cancellation_slot(cancel_.slot(), [self = shared_from_this()](std::exception_ptr) {}));
}

void Watcher::stop() {
  const auto self = shared_from_this();
  if (std::exchange(stopped_, true)) return;
  if (unwritten_) write();
  write_timer_.cancel();
  cancel_.emit(asio::cancellation_type::terminal);
}

asio::awaitable<void> Watcher::run() {
  const auto self = shared_from_this();
  co_await asio::post(io_, asio::use_awaitable);
  for (const auto &[id, service] : std::map(services_))
    if (!stopped_) callbacks_.on_put(service);
  if (!stopped_) callbacks_.on_state(state_);
  const std::function<void(http::Event)> on_event = [this](http::Event event) {
    if (!stopped_) take(event);
  };
  while (!stopped_) {
    registry_.emplace();
    whole_ = false;
    const auto ended = co_await http::watch(options_.target, "/v1/services/watch", on_event);
    registry_.reset();
    if (stopped_) co_return;
    away(ended);
    co_await wait_before_retry();
  }
}

asio::awaitable<void> Watcher::wait_before_retry() {
  wait_ = std::clamp(wait_ * 2, options_.first_wait, options_.longest_wait);
  std::uniform_int_distribution<std::int64_t> jitter(wait_.count() / 2, wait_.count());
  const std::chrono::milliseconds wait(jitter(random_));
  asio::steady_timer timer(io_, wait);
  co_await timer.async_wait(kToken);
}

void Watcher::take(const http::Event &event) {
  v1::ServiceChange change;
  if (auto ok = from_json(event.data, change); !ok) return log::warn("platform: ignored an event: {}", ok.error().what);
  if (event.name == "snapshot end") {
    whole_ = true;
    wait_ = std::chrono::milliseconds(0);
    reason_.clear();
    return take_registry(change.revision());
  }
  if (event.name != "put" && event.name != "remove") return;  // of a later version
  if (registry_) {
    if (change.has_put())
      (*registry_)[change.put().service_id()] = change.put();
    else
      registry_->erase(change.removed());
    if (whole_) take_registry(change.revision());
    return;
  }
  if (change.has_put()) {
    put(change.put());
  } else {
    remove(change.removed());
  }
  connected(change.revision());
}

// Services of ours that the registry lacks or has otherwise.
std::vector<std::string> Watcher::not_in_registry() const {
  std::vector<std::string> ids;
  for (const auto &[id, service] : services_)
    if (const auto told = registry_->find(id); told == registry_->end() || !same(told->second, service))
      ids.push_back(id);
  return ids;
}

void Watcher::hold_back(std::uint64_t revision, const std::vector<std::string> &services) {
  const std::string known = std::to_string(revision_);
  std::string names;
  for (std::size_t i = 0; i < services.size() && i < kMostNamed; ++i) names += (i ? ", " : "") + services[i];
  if (services.size() > kMostNamed) names += ", and " + std::to_string(services.size() - kMostNamed) + " more";
  const std::string went_back = "went back from revision " + known + " to " + std::to_string(revision);
  if (!std::exchange(went_back_, true))
    log::error(
        "platform: its registry {}, services missing or different there: {}; it is not taken hint=\"put them back "
        "at the platform as they were; once its revision reaches {} it is taken as it is; to accept the loss now, "
        "{}restart this agent\"",
        went_back, names, known, options_.cache_file.empty() ? "" : "remove " + options_.cache_file + " and ");
  set_state(went_back + ", not taken: " + names + " missing or different");
}

void Watcher::take_registry(std::uint64_t revision) {
  if (!registry_) return;
  if (revision < revision_)
    if (const auto services = not_in_registry(); !services.empty()) return hold_back(revision, services);
  const auto all = *std::exchange(registry_, std::nullopt);
  if (revision < revision_) log::warn("platform: its registry went back from revision {} to {}", revision_, revision);
  std::vector<std::string> gone;
  for (const auto &[id, service] : services_)
    if (!all.contains(id)) gone.push_back(id);
  for (const auto &id : gone) remove(id);
  for (const auto &[id, service] : all) put(service);
  known_ = true;
  went_back_ = false;
  unwritten_ = true;
  connected(revision);
  if (!stopped_)
    log::info("platform: connected url={} services={} revision={}", options_.target.url, services_.size(), revision_);
}

void Watcher::put(const v1::Service &service) {
  const auto before = services_.find(service.service_id());
  if (before != services_.end() && same(before->second, service)) {
    before->second = service;
    return;
  }
  if (!is_good(service, "platform")) return;
  // A number that moved within changes that we see in one: its former owner comes again with its own.
  std::string former;
  for (const auto &[id, other] : services_)
    if (other.cs_id() == service.cs_id() && id != service.service_id()) former = id;
  if (!former.empty()) remove(former);
  services_[service.service_id()] = service;
  unwritten_ = true;
  if (!stopped_) callbacks_.on_put(service);
}

void Watcher::remove(const std::string &service_id) {
  if (services_.erase(service_id) == 0) return;
  unwritten_ = true;
  if (!stopped_) callbacks_.on_remove(service_id);
}

void Watcher::connected(std::uint64_t revision) {
  unwritten_ = unwritten_ || revision != revision_;
  revision_ = revision;
  if (unwritten_) write_later();
  set_state("connected (revision " + std::to_string(revision_) + ")");
}

std::string Watcher::away_state() const {
  return known_ ? "away (cached copy of revision " + std::to_string(revision_) + ")" : "away (no cached copy)";
}

void Watcher::away(const Result<> &ended) {
  const std::string reason = ended ? "it ended the watch" : ended.error().what;
  if (reason != reason_)
    log::warn("platform: away url={} reason=\"{}\" hint=\"{}\"", options_.target.url, reason,
              ended ? "" : ended.error().hint);
  reason_ = reason;
  set_state(away_state());
}

void Watcher::set_state(const std::string &state) {
  if (stopped_ || state == state_) return;
  state_ = state;
  callbacks_.on_state(state_);
}

void Watcher::write_later() {
  if (options_.cache_file.empty() || stopped_ || write_timer_.expiry() > std::chrono::steady_clock::now()) return;
  write_timer_.expires_after(kCacheDelay);
  write_timer_.async_wait([self = shared_from_this()](boost::system::error_code error) {
    if (!error && self->unwritten_) self->write();
  });
}

void Watcher::write() {
  unwritten_ = false;
  if (options_.cache_file.empty()) return;
  if (revision_ == 0)
    return static_cast<void>(::unlink(options_.cache_file.c_str()));  // a registry that never held anything
  v1::ServiceCatalogue catalogue;
  catalogue.set_revision(revision_);
  for (const auto &[id, service] : services_) *catalogue.add_services() = service;
  if (auto ok = write_cache(options_.cache_file, catalogue); !ok) log::warn("platform: {}", ok.error().what);
}

class RealClient : public PlatformClient {
 public:
  explicit RealClient(std::shared_ptr<Watcher> watcher) : watcher_(std::move(watcher)) {}
  ~RealClient() override { watcher_->stop(); }
  bool known() const override { return watcher_->known(); }
  std::uint64_t revision() const override { return watcher_->revision(); }
  const std::string &state() const override { return watcher_->state(); }

 private:
  std::shared_ptr<Watcher> watcher_;
};

}  // namespace

Result<std::unique_ptr<PlatformClient>> PlatformClient::open(asio::io_context &io, PlatformClientOptions options,
                                                             PlatformClientCallbacks callbacks) {
  const auto url = http::parse_url(options.target.url);
  if (!url) return Error{"platform " + url.error().what, url.error().hint};
  if (url->scheme == http::Url::Scheme::kHttps && !options.target.tls)
    return Error{"platform url '" + options.target.url + "' needs tls", "configure tls with an authority"};
  auto watcher = std::make_shared<Watcher>(io, std::move(options), std::move(callbacks));
  watcher->load_cache();
  watcher->start();
  return std::unique_ptr<PlatformClient>(std::make_unique<RealClient>(std::move(watcher)));
}

}  // namespace catsbpf
