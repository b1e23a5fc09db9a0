// SPDX-License-Identifier: Apache-2.0
// cats-platformd: the public service platform. In: a configuration file, a catalogue, HTTP requests. Out: the registry.
#include <systemd/sd-daemon.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/program_options.hpp>

#include <csignal>
#include <cstdio>
#include <iostream>

#include "cmas/platform/catalogue.h"
#include "cmas/platform/config.h"
#include "cmas/platform/registry.h"
#include "cmas/platform/service_api.h"
#include "util/endpoint.h"
#include "util/log.h"
#include "util/signals.h"
#include "util/version.h"

namespace {

using namespace catsbpf;
namespace asio = boost::asio;
namespace po = boost::program_options;
constexpr std::size_t kMaxConnections = 1000;  // every agent holds one for its watch

int fail(const Error &error) {
  // Problems of files stand on lines of their own, each with the file's name.
  const bool plain = error.code != EINVAL || error.what.find('\n') == std::string::npos;
  std::fprintf(stderr, "%s%s\n", plain ? "error: " : "", error.text().c_str());
  return 1;
}

std::string summary(const cmas::Registry::Import &import) {
  return std::to_string(import.created) + " new, " + std::to_string(import.changed) + " changed, " +
         std::to_string(import.unchanged) + " as before";
}

// The catalogue of the configuration fills an empty registry.
Result<> fill(cmas::Registry &registry, const std::string &catalogue) {
  const auto now = registry.revision();
  if (!now) return now.error();
  if (catalogue.empty() || *now != 0) return done();
  const auto services = cmas::load_catalogue(catalogue);
  if (!services) return services.error();
  const auto import = registry.import(*services);
  if (!import) return import.error();
  log::info("platform: catalogue loaded file={} services={}", catalogue, services->size());
  return done();
}

int import_file(const cmas::PlatformSettings &settings, const std::string &file) {
  const auto services = cmas::load_catalogue(file);
  if (!services) return fail(services.error());
  auto registry = cmas::Registry::open(settings.file.database());
  if (!registry) return fail(registry.error());
  const auto import = (*registry)->import(*services);
  if (!import) return fail(import.error());
  const auto now = (*registry)->revision();
  if (!now) return fail(now.error());
  std::printf("%s: %s; the registry is at revision %llu\n", file.c_str(), summary(*import).c_str(),
              static_cast<unsigned long long>(*now));
  return 0;
}

int check(const cmas::PlatformSettings &settings) {
  if (!settings.file.catalogue().empty()) {
    const auto services = cmas::load_catalogue(settings.file.catalogue());
    if (!services) return fail(services.error());
  }
  std::puts("configuration is good");
  return 0;
}

// systemd's watchdog, patted from the event loop: a loop that hangs is noticed.
class Watchdog {
 public:
  explicit Watchdog(asio::io_context &io) : timer_(io) {
    std::uint64_t limit_us = 0;
    if (sd_watchdog_enabled(0, &limit_us) <= 0) return;
    interval_ = std::chrono::microseconds(limit_us / 2);
    pat();
  }
  void stop() { timer_.cancel(); }

 private:
  void pat() {
    sd_notify(0, "WATCHDOG=1");
    timer_.expires_after(interval_);
    timer_.async_wait([this](boost::system::error_code error) {
      if (!error) pat();
    });
  }
  asio::steady_timer timer_;
  std::chrono::microseconds interval_{0};
};

Result<http::ServerOptions> server_options(const v1::PlatformConfig &config) {
  http::ServerOptions options{
      .listen = config.listen(), .max_connections = kMaxConnections, .max_connections_per_source = 128};
  if (!config.has_tls()) return options;
  auto context = tls::server_context({config.tls().certificate(), config.tls().key(), ""}, tls::PeerCertificate::kNone);
  if (!context) return context.error();
  options.tls = *context;
  return options;
}

int serve(const cmas::PlatformSettings &settings) {
  const auto &config = settings.file;
  auto registry = cmas::Registry::open(config.database());
  if (!registry) return fail(registry.error());
  if (auto ok = fill(**registry, config.catalogue()); !ok) return fail(ok.error());
  const auto revision = (*registry)->revision();
  if (!revision) return fail(revision.error());

  asio::io_context io(1);
  auto options = server_options(config);
  if (!options) return fail(options.error());
  auto server = http::Server::open(io, *options);
  if (!server) return fail(server.error());
  cmas::add_service_api(io, **server, **registry, {settings.write_token});
  if (!config.has_tls() && settings.write_token && !(*server)->endpoint().address().is_loopback())
    log::warn("platform: the write token travels in clear text; configure tls");

  Watchdog watchdog(io);
  asio::signal_set signals(io, SIGTERM, SIGINT);
  signals.async_wait([&](boost::system::error_code error, int number) {
    if (error) return;
    log::info("platform: stopping signal={}", number);
    sd_notify(0, "STOPPING=1");
    watchdog.stop();
    (*server)->stop();
  });
  const std::string where = config.listen().starts_with("/") ? config.listen() : to_text((*server)->endpoint());
  log::info("platform: ready listen={} tls={} database={} revision={} version={}", where,
            config.has_tls() ? "1.3" : "none", config.database(), *revision, CATSBPF_VERSION);
  sd_notifyf(0, "READY=1\nSTATUS=listens on %s", where.c_str());
  io.run();
  return 0;
}

}  // namespace

int main(int argc, char **argv) {
  ignore_signals();
  std::string config = "/etc/catsbpf/cats-platformd.yaml", import;
  po::options_description options("cats-platformd: the public service platform of CATS\n\noptions");
  auto add = options.add_options();
  add("config,c", po::value(&config)->value_name("FILE"), "configuration (default /etc/catsbpf/cats-platformd.yaml)");
  add("import", po::value(&import)->value_name("FILE"), "merge a catalogue into the registry, then exit");
  add("check", "check the configuration and its catalogue, then exit");
  add("version", "print the version");
  add("help,h", "print this");
  po::variables_map given;
  try {
    po::store(po::command_line_parser(argc, argv).options(options).positional({}).run(), given);
    po::notify(given);
  } catch (const po::error &error) {
    std::fprintf(stderr, "error: %s\nhint: see cats-platformd --help\n", error.what());
    return 2;
  }
  if (given.contains("help")) return std::cout << options, 0;
  if (given.contains("version")) return std::puts("cats-platformd " CATSBPF_VERSION), 0;

  const auto settings = cmas::load_config(config);
  if (!settings) return fail(settings.error());
  if (auto ok = log::set_up("cats-platformd", settings->file.log_level()); !ok) return fail(ok.error());
  if (given.contains("check")) return check(*settings);
  if (!import.empty()) return import_file(*settings, import);
  return serve(*settings);
}
