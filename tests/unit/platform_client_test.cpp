// SPDX-License-Identifier: Apache-2.0
// The agent's copy of the service table against the real platform on a real socket: gone and back, restarted, replaced.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "agent/platform_client/cache.h"
#include "agent/platform_client/platform_client.h"
#include "cmas/platform/registry.h"
#include "cmas/platform/service_api.h"
#include "tests/unit/util_certificates.h"
#include "tests/unit/util_loop.h"
#include "util/endpoint.h"

namespace catsbpf {
namespace {

using namespace std::chrono_literals;
using cmas::Registry;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::Service service(const std::string &id, std::uint32_t cs_id) {
  v1::Service service;
  service.set_service_id(id);
  service.set_cs_id(cs_id);
  return service;
}

class PlatformClientTest : public ::testing::Test {
 protected:
  ~PlatformClientTest() override {
    loop_.run([this] { client_.reset(); });
    close_platform();
    loop_.finish();
  }

  void open_platform() {
    auto registry = Registry::open(file_);
    ASSERT_TRUE(registry) << registry.error().text();
    registry_ = *std::move(registry);
    loop_.run([&] {
      http::ServerOptions options{.listen = listen_};
      if (!certificate_.certificate.empty())
        options.tls = *tls::server_context(certificate_, tls::PeerCertificate::kNone);
      auto server = http::Server::open(loop_.io(), options);
      ASSERT_TRUE(server) << server.error().text();
      server_ = *std::move(server);
      cmas::add_service_api(loop_.io(), *server_, *registry_, {});
      listen_ = to_text(server_->endpoint());
    });
  }
  void close_platform() {
    loop_.run([this] {
      server_.reset();
      registry_.reset();
    });
  }
  // On the loop, where the registry is in use.
  void put(const v1::Service &one) {
    const auto stored = loop_.run([&] { return registry_->put(one); });
    EXPECT_TRUE(stored) << stored.error().text();
  }
  void remove(const std::string &id) {
    EXPECT_TRUE(loop_.run([&] { return registry_->remove(id); }));
  }

  PlatformClientOptions options() {
    PlatformClientOptions options;
    options.target.url = (certificate_.certificate.empty() ? "http://" : "https://") + listen_;
    options.cache_file = cache_;
    options.first_wait = 5ms;
    options.longest_wait = 50ms;
    return options;
  }
  void open_client() { open_client(options()); }
  void open_client(const PlatformClientOptions &options) {
    loop_.run([&] {
      PlatformClientCallbacks callbacks;
      callbacks.on_put = [this](const v1::Service &one) {
        events_.add("put " + one.service_id() + " " + std::to_string(one.cs_id()));
      };
      callbacks.on_remove = [this](const std::string &id) { events_.add("remove " + id); };
      callbacks.on_state = [this](const std::string &state) { events_.add(state); };
      auto client = PlatformClient::open(loop_.io(), options, callbacks);
      ASSERT_TRUE(client) << client.error().text();
      client_ = *std::move(client);
    });
  }
  void close_client() {
    loop_.run([this] { client_.reset(); });
    events_.clear();
  }
  std::vector<std::string> cached() {
    std::vector<std::string> ids;
    const auto catalogue = read_cache(cache_);
    EXPECT_TRUE(catalogue && *catalogue);
    if (catalogue && *catalogue)
      for (const auto &one : (*catalogue)->services()) ids.push_back(one.service_id());
    return ids;
  }

  test::Folder folder_;
  std::string file_ = folder_.file("platform.db"), cache_ = folder_.file("services.cache"), listen_ = "127.0.0.1:0";
  tls::Files certificate_;
  test::CapturedLog log_;
  test::Lines events_;
  test::Loop loop_;
  std::unique_ptr<Registry> registry_;
  std::unique_ptr<http::Server> server_;
  std::unique_ptr<PlatformClient> client_;
};

TEST_F(PlatformClientTest, services_come_and_go_as_the_platform_says) {
  open_platform();
  put(service("A", 1));
  open_client();
  EXPECT_NE(events_.wait_for("connected (revision 1)"), "");
  put(service("B", 2));
  put(service("A", 3));
  remove("B");
  EXPECT_NE(events_.wait_for("connected (revision 4)"), "");
  const auto events = events_.all();
  EXPECT_EQ(events[0], "away (no cached copy)");
  EXPECT_EQ(events[1], "put A 1");
  EXPECT_EQ(events[2], "connected (revision 1)");
  // Changes that come together are told in their last state.
  EXPECT_THAT(events, ::testing::Contains("put A 3"));
  EXPECT_TRUE(loop_.run([this] { return client_->known(); }));
}

TEST_F(PlatformClientTest, cached_copy_serves_while_the_platform_is_away) {
  open_platform();
  put(service("A", 1));
  put(service("B", 2));
  open_client();
  EXPECT_NE(events_.wait_for("connected (revision 2)"), "");
  close_client();
  close_platform();
  EXPECT_THAT(cached(), ElementsAre("A", "B"));
  struct stat status {};
  ASSERT_EQ(::stat(cache_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);

  open_client();
  EXPECT_THAT(events_.wait_for(3), ElementsAre("put A 1", "put B 2", "away (cached copy of revision 2)"));
  EXPECT_NE(
      log_.wait_for("platform: away url=http://" + listen_ + " reason=\"connect " + listen_ + ": connection refused\""),
      "");
  EXPECT_TRUE(loop_.run([this] { return client_->known(); }));
}

TEST_F(PlatformClientTest, what_went_while_the_platform_was_away_goes_after_it_is_back) {
  open_platform();
  for (std::uint32_t i = 1; i <= 3; ++i) put(service(std::string(1, static_cast<char>('A' + i - 1)), i));
  open_client();
  EXPECT_NE(events_.wait_for("connected (revision 3)"), "");
  close_platform();
  EXPECT_NE(events_.wait_for("away (cached copy of revision 3)"), "");
  {
    auto registry = Registry::open(file_);
    ASSERT_TRUE((*registry)->remove("A"));
    ASSERT_TRUE((*registry)->put(service("D", 1)));  // takes A's number
  }
  events_.clear();
  open_platform();
  EXPECT_NE(events_.wait_for("connected (revision 5)"), "");
  EXPECT_THAT(events_.all(), ElementsAre("remove A", "put D 1", "connected (revision 5)"));  // B and C did not change
}

// A registry of A 1, B 2, C 3 at revision 3, known to the client; then another one in its place, which holds
// `services`.
class RegistryMadeAnew : public PlatformClientTest {
 protected:
  void replace(const std::vector<v1::Service> &services) {
    open_platform();
    for (std::uint32_t i = 1; i <= 3; ++i) put(service(std::string(1, static_cast<char>('A' + i - 1)), i));
    open_client();
    EXPECT_NE(events_.wait_for("connected (revision 3)"), "");
    close_platform();
    EXPECT_NE(events_.wait_for("away (cached copy of revision 3)"), "");
    events_.clear();
    file_ = folder_.file("other.db");
    {
      auto registry = Registry::open(file_);
      for (const auto &one : services) ASSERT_TRUE((*registry)->put(one));
    }
    open_platform();
  }
  std::size_t said() {
    std::size_t count = 0;
    for (const auto &line : log_.all())
      if (line.find("its registry went back") != std::string::npos) ++count;
    return count;
  }
};

TEST_F(RegistryMadeAnew, that_lacks_services_is_not_taken_until_it_has_them_again) {
  auto changed = service("C", 3);
  changed.mutable_affinity()->set_timeout_s(7);
  replace({changed});
  EXPECT_NE(events_.wait_for("went back from revision 3 to 1, not taken: A, B, C missing or different"), "");
  EXPECT_THAT(
      log_.wait_for("its registry went back from revision 3 to 1"),
      HasSubstr("services missing or different there: A, B, C; it is not taken hint=\"put them back at the platform "
                "as they were; once its revision reaches 3 it is taken as it is; to accept the loss now, remove " +
                cache_ + " and restart this agent\""));
  EXPECT_TRUE(loop_.run([this] { return client_->known(); }));
  remove("C");
  EXPECT_NE(events_.wait_for("went back from revision 3 to 2"), "");
  close_platform();
  EXPECT_NE(events_.wait_for("away (cached copy of revision 3)"), "");
  events_.clear();
  open_platform();
  EXPECT_NE(events_.wait_for("went back from revision 3 to 2"), "");
  close_client();
  EXPECT_THAT(cached(), ElementsAre("A", "B", "C"));
  EXPECT_EQ(said(), 1u);
}

TEST_F(RegistryMadeAnew, is_taken_once_it_has_all_again) {
  replace({});
  EXPECT_NE(events_.wait_for("went back from revision 3 to 0, not taken: A, B, C"), "");
  put(service("C", 3));
  EXPECT_NE(events_.wait_for("to 1, not taken: A, B missing"), "");
  EXPECT_TRUE(loop_.run([this] { return registry_->import({service("A", 1), service("B", 2)}).ok(); }));
  EXPECT_NE(events_.wait_for("connected (revision 3)"), "");
  for (const auto &event : events_.all())
    EXPECT_FALSE(event.starts_with("put") || event.starts_with("remove")) << event;
  remove("B");  // it is believed again
  EXPECT_NE(events_.wait_for("remove B"), "");
}

TEST_F(RegistryMadeAnew, with_the_same_services_is_taken_though_its_revision_is_lower) {
  open_platform();
  put(service("C", 3));
  put(service("A", 1));
  remove("C");
  open_client();
  EXPECT_NE(events_.wait_for("connected (revision 3)"), "");
  close_platform();
  events_.clear();
  file_ = folder_.file("other.db");
  {
    auto registry = Registry::open(file_);
    ASSERT_TRUE((*registry)->put(service("A", 1)));
    ASSERT_TRUE((*registry)->put(service("B", 2)));
  }
  open_platform();
  EXPECT_NE(events_.wait_for("connected (revision 2)"), "");
  EXPECT_THAT(events_.all(), ::testing::Contains("put B 2"));
  EXPECT_EQ(said(), 1u);
}

TEST_F(RegistryMadeAnew, is_taken_as_it_is_once_its_revision_is_no_longer_older) {
  replace({});
  EXPECT_NE(events_.wait_for("went back from revision 3 to 0, not taken: A, B, C"), "");
  for (std::uint32_t i = 4; i <= 6; ++i) put(service(std::string(1, static_cast<char>('A' + i - 1)), i));
  EXPECT_NE(events_.wait_for("connected (revision 3)"), "");
  EXPECT_THAT(events_.all(), ::testing::IsSupersetOf({"remove A", "remove B", "remove C", "put D 4", "put F 6"}));
}

TEST_F(RegistryMadeAnew, is_taken_after_a_restart_without_the_cached_copy) {
  replace({service("C", 3)});
  EXPECT_NE(events_.wait_for("went back from revision 3 to 1, not taken: A, B"), "");
  close_client();
  open_client();
  EXPECT_NE(events_.wait_for("went back from revision 3 to 1, not taken: A, B"), "")
      << "a restart alone changes nothing";
  std::filesystem::remove(cache_);
  close_client();
  open_client();
  EXPECT_NE(events_.wait_for("connected (revision 1)"), "");
  close_client();
  EXPECT_THAT(cached(), ElementsAre("C"));
}

TEST_F(PlatformClientTest, number_that_moved_has_one_owner_at_every_moment) {
  open_platform();
  put(service("A", 1));
  put(service("B", 2));
  open_client();
  EXPECT_NE(events_.wait_for("connected (revision 2)"), "");
  events_.clear();
  // In one turn of the loop: the watch sees only the last state of A, after B.
  ASSERT_TRUE(loop_.run([this] {
    return registry_->put(service("A", 3)) && registry_->put(service("B", 1)) && registry_->put(service("A", 2));
  }));
  EXPECT_NE(events_.wait_for("connected (revision 5)"), "");
  std::map<std::uint32_t, std::string> owners{{1, "A"}, {2, "B"}};
  for (const auto &event : events_.all()) {
    if (event.starts_with("remove "))
      std::erase_if(owners, [&](const auto &entry) { return entry.second == event.substr(7); });
    if (!event.starts_with("put ")) continue;
    const std::string id = event.substr(4, 1);
    std::erase_if(owners, [&](const auto &entry) { return entry.second == id; });
    EXPECT_TRUE(owners.emplace(std::stoul(event.substr(6)), id).second) << event;
  }
  EXPECT_EQ(owners, (std::map<std::uint32_t, std::string>{{1, "B"}, {2, "A"}}));
}

TEST_F(PlatformClientTest, service_that_breaks_the_rules_is_ignored_with_a_warning) {
  loop_.run([&] {
    auto server = http::Server::open(loop_.io(), {.listen = listen_});
    server_ = *std::move(server);
    listen_ = to_text(server_->endpoint());
    server_->route("GET", "/v1/services/watch", [](http::Request) -> boost::asio::awaitable<http::Response> {
      http::Response response;
      response.stream = [](std::shared_ptr<http::EventStream> events) -> boost::asio::awaitable<void> {
        (void)co_await events->send("put", "1", R"({"revision":1,"put":{"service_id":"bad id","cs_id":0}})");
        (void)co_await events->send("put", "2", R"({"revision":2,"put":{"service_id":"good","cs_id":2}})");
        (void)co_await events->send("put", "2", "not json");
        (void)co_await events->send("from a later version", "2", "{}");
        (void)co_await events->send("snapshot end", "2", R"({"revision":2})");
      };
      co_return response;
    });
  });
  open_client();
  EXPECT_NE(events_.wait_for("connected (revision 2)"), "");
  EXPECT_NE(
      log_.wait_for(
          "ignored a service from the platform: service bad id is refused: service_id: 'bad id' is not a name; cs_id:"),
      "");
  EXPECT_NE(log_.wait_for("ignored an event: not a ServiceChange"), "");
  for (const auto &event : events_.all()) EXPECT_FALSE(event.starts_with("put bad")) << event;
  EXPECT_NE(events_.wait_for("put good 2"), "");
  EXPECT_NE(events_.wait_for("away (cached copy of revision 2)"), "");  // the stream ended: it comes again
}

TEST_F(PlatformClientTest, broken_cached_copy_is_left_out_with_a_warning) {
  std::ofstream(cache_) << "no protobuf at all";
  open_client(options());
  EXPECT_NE(events_.wait_for("away (no cached copy)"), "");
  EXPECT_NE(
      log_.wait_for("cached copy " + cache_ + ": it is cut off, or no service catalogue at all hint=\"the platform"),
      "");
  EXPECT_FALSE(loop_.run([this] { return client_->known(); }));
  close_client();

  v1::ServiceCatalogue whole;
  *whole.add_services() = service("A", 1);
  *whole.add_services() = service("B", 2);
  whole.set_revision(2);
  ASSERT_TRUE(write_cache(cache_, whole));
  for (auto size = std::filesystem::file_size(cache_); size-- > 1;) {
    std::filesystem::resize_file(cache_, size);
    EXPECT_FALSE(read_cache(cache_)) << size;
  }
  std::filesystem::resize_file(cache_, 0);
  EXPECT_EQ(read_cache(cache_).error().what, "cached copy " + cache_ + ": it is empty");
  std::filesystem::remove(cache_);
  std::filesystem::create_directory(cache_);
  const auto directory = read_cache(cache_);
  EXPECT_EQ(directory.error().what, "cached copy " + cache_ + ": Is a directory");
  EXPECT_THAT(directory.error().hint, HasSubstr("remove it"));
  EXPECT_THAT(write_cache(folder_.file("none/x"), whole).error().what, HasSubstr("No such file or directory"));
}

TEST_F(PlatformClientTest, platform_with_the_wrong_identity_is_not_believed) {
  const test::Authority authority(folder_, "lab");
  certificate_ = authority.issue("egress", "f2");
  open_platform();
  put(service("A", 1));
  auto wrong = options();
  EXPECT_THAT(PlatformClient::open(loop_.io(), wrong, {}).error().what, HasSubstr("needs tls"));
  wrong.target.tls = *tls::client_context({"", "", authority.file()});
  wrong.target.server = tls::Expected{"lab.cats", "platform", {}};
  open_client(wrong);
  EXPECT_NE(log_.wait_for("certificate is spiffe://lab.cats/egress/f2, expected role platform"), "");
  EXPECT_THAT(events_.all(), ElementsAre("away (no cached copy)"));
  close_platform();
  certificate_ = authority.issue("platform", "platform");
  open_platform();
  EXPECT_NE(events_.wait_for("put A 1"), "");
}

TEST_F(PlatformClientTest, thousand_services_come_in_one_connection_and_from_the_cache) {
  open_platform();
  std::vector<v1::Service> services;
  for (std::uint32_t i = 1; i <= 1000; ++i) {
    services.push_back(service("S" + std::to_string(i), i));
    services.back().add_locators()->set_prefix("10.1." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1));
    services.back().set_service_description(std::string(300, 'x'));
  }
  ASSERT_TRUE(registry_->import(services));
  open_client();
  EXPECT_NE(events_.wait_for("connected (revision 1000)"), "");
  EXPECT_EQ(events_.all().size(), 1002u);
  close_client();
  close_platform();
  open_client();
  EXPECT_NE(events_.wait_for("away (cached copy of revision 1000)"), "");
  EXPECT_EQ(events_.all().size(), 1001u);
}

}  // namespace
}  // namespace catsbpf
