// SPDX-License-Identifier: Apache-2.0
// catsbpfd: the host agent. This file alone knows the graph: which parts the roles ask for, and what of
// one part goes into another.
//
//   platform client (services), session server (rows), C-NMA (delays)
//     -> whole service table -> path selector -> programmer -> dataplane (pinned maps)
//   C-SMA (rows with contacts), configuration (instances) -> programmer
#include <unistd.h>

#include <boost/asio/signal_set.hpp>
#include <boost/program_options.hpp>

#include <csignal>
#include <filesystem>
#include <iostream>

#include "agent/api/operator_api.h"
#include "agent/api/request_api.h"
#include "agent/api/views.h"
#include "agent/netlink/changes.h"
#include "agent/network_metrics/reflector.h"
#include "agent/programmer/service_networks.h"
#include "agent/service_manager.h"
#include "agent/view_in_force.h"
#include "util/log.h"
#include "util/signals.h"
#include "util/version.h"

namespace catsbpf::agent {

namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

constexpr auto kGoodbye = 200ms;  // for last messages to peers
constexpr auto kSettle = 3s;      // then next hops are known, and what is off is logged

// Declared in the order of need: destroyed the other way round.
class Agent {
 public:
  Agent(asio::io_context &io, Config config) : io_(io), config_(std::move(config)), manager_(io), settle_(io) {}

  Result<> start();
  // After a start that failed.
  void undo();
  void reload();
  void stop();

 private:
  Result<> prepare();
  Result<> start_dataplane();
  Result<> start_selector();
  Result<> start_platform();
  Result<> start_network_metrics();
  Result<> start_service_metrics();
  Result<> start_apis();
  void put_configured_deliveries();
  void put_site_deliveries(const std::vector<cmas::SiteRow> &rows);
  tls::Files files() const { return {config_.tls->certificate, config_.tls->key, config_.tls->authority}; }

  asio::io_context &io_;
  Config config_;
  ServiceManager manager_;
  asio::steady_timer settle_;
  cmas::WholeTable table_;
  std::map<std::string, uint32_t> cs_ids_;  // Service ID -> CS-ID, for the site's API
  Parts parts_;
  std::unique_ptr<Dataplane> dataplane_;
  std::unique_ptr<Changes> link_changes_;  // call for dataplane_
  std::unique_ptr<maps::Tables> tables_;
  std::unique_ptr<Programmer> programmer_;
  std::unique_ptr<SessionServer> sessions_;
  std::unique_ptr<PathSelector> selector_;
  std::unique_ptr<PlatformClient> platform_;
  std::unique_ptr<ServiceNetworks> service_networks_;  // of an egress with a C-SMA
  std::unique_ptr<ServiceMetricAgent> service_metrics_;
  std::unique_ptr<NetworkMetricAgent> network_metrics_;
  std::unique_ptr<Reflector> reflector_;
  std::unique_ptr<InterfaceRates> rates_;
  std::unique_ptr<OperatorApi> operator_api_;
  std::unique_ptr<RequestApi> request_api_;
};

// Takes the value of a Result into `into`, or gives its Error.
template <class T>
Result<> take(Result<T> result, T &into) {
  if (!result) return result.error();
  into = std::move(*result);
  return done();
}

Result<> Agent::prepare() {
  std::error_code failed;
  std::filesystem::create_directories(config_.state_directory, failed);
  if (failed || access(config_.state_directory.c_str(), W_OK) != 0)
    return Error{"cannot write to state_directory " + config_.state_directory + ": " +
                     (failed ? failed.message() : std::strerror(errno)),
                 "make it writable for catsbpfd, or name another one"};
  const auto folder = std::filesystem::path(config_.operator_socket).parent_path();
  std::filesystem::create_directories(folder, failed);
  if (failed)
    return Error{"cannot make " + folder.string() + ": " + failed.message(), "operator_socket needs its folder"};
  return done();
}

Result<> Agent::start_dataplane() {
  DataplaneOptions options;
  options.pin_directory = config_.pin_directory;
  options.flow_entries = config_.flow_entries;
  options.tunnel_address = config_.tunnel->address;
  for (const auto &interface : config_.interfaces) {
    uint32_t sides = 0;
    if (interface.sides.contains("client")) sides |= maps::SIDE_CLIENT;
    if (interface.sides.contains("underlay")) sides |= maps::SIDE_UNDERLAY;
    if (interface.sides.contains("service")) sides |= maps::SIDE_SERVICE;
    options.interfaces.push_back({interface.name, sides, interface.mode});
  }
  if (auto r = take(open_kernel_dataplane(options), dataplane_); !r) return r;
  std::vector<std::string> names;
  for (const auto &interface : config_.interfaces) names.push_back(interface.name);
  if (auto r = take(Changes::of_links(io_, names, kMend, [this] { dataplane_->mend(); }), link_changes_); !r) return r;
  if (auto r = take(maps::Tables::open(config_.pin_directory), tables_); !r) return r;

  ProgrammerOptions wanted;
  wanted.tunnel_address = config_.tunnel->address;
  wanted.vni = config_.tunnel->vni;
  wanted.icmp_source4 = config_.icmp_source4;
  wanted.icmp_source6 = config_.icmp_source6;
  for (const auto &forwarder : config_.forwarders) wanted.forwarders.push_back({forwarder.name, forwarder.address});
  if (auto r = take(Programmer::open(io_, *dataplane_, wanted), programmer_); !r) return r;
  // All sources of this start go into one first view; the selector takes the hold over on an ingress.
  programmer_->hold("the other parts of this agent");
  parts_.dataplane = dataplane_.get();
  parts_.tables = tables_.get();
  parts_.programmer = programmer_.get();
  return done();
}

Result<> Agent::start_selector() {
  const auto &wanted = *config_.path_selector;
  SessionServerOptions options;
  options.listen = wanted.listen;
  options.tls = files();
  options.domain = config_.tls->domain;
  options.name = config_.node;
  options.hold_time = wanted.hold_time;
  options.freeze_after = wanted.freeze_after;
  options.held = [this](const std::string &origin) {
    return selector_ ? selector_->requests().held_of(origin) : std::vector<uint64_t>{};
  };
  SelectorOptions selector;
  for (const auto &agent : wanted.agents) {
    options.agents.push_back({agent.name, agent.site});
    selector.sites.insert(agent.site);
  }
  for (const auto &forwarder : config_.forwarders) selector.forwarders.insert(forwarder.name);
  options.forwarders = selector.forwarders;
  if (auto r = take(SessionServer::open(io_, options, table_), sessions_); !r) return r;
  selector.state_directory = config_.state_directory;
  selector.ring_threshold = wanted.ring_threshold;
  selector.restart_hold = config_.restart_hold;
  selector.hold = tables_->view_header().epoch > 0;
  selector.measures = config_.has(Role::kNetworkMetricAgent);
  selector.programmed = instances_in_force(*tables_, config_.forwarders);
  if (auto r = take(PathSelector::open(io_, table_, *sessions_, *programmer_, selector), selector_); !r) return r;
  parts_.sessions = sessions_.get();
  parts_.selector = selector_.get();
  return done();
}

Result<> Agent::start_platform() {
  PlatformClientOptions options;
  options.target.url = config_.platform->url;
  if (config_.tls) {
    const auto context = tls::client_context(files());
    if (!context) return context.error();
    options.target.tls = *context;
    options.target.server = tls::Expected{config_.tls->domain, "platform", {config_.platform->name}};
  }
  options.cache_file = config_.state_directory + "/services.cache";
  PlatformClientCallbacks callbacks;
  callbacks.on_put = [this](const v1::Service &service) {
    cs_ids_[service.service_id()] = service.cs_id();
    if (selector_) {
      selector_->put_service(service);
    } else if (programmer_) {
      // An egress steers nothing; it only delivers to addresses that are the service's.
      programmer_->put_service({.service_id = service.service_id(),
                                .cs_id = service.cs_id(),
                                .locators = {service.locators().begin(), service.locators().end()},
                                .affinity = service.affinity(),
                                .instances = {},
                                .ring = nullptr});
    }
  };
  callbacks.on_remove = [this](const std::string &service_id) {
    const auto known = cs_ids_.extract(service_id);
    if (selector_) {
      selector_->remove_service(service_id);
    } else if (programmer_ && known) {
      programmer_->remove_service(known.mapped());
    }
  };
  callbacks.on_state = [this](const std::string &) {
    if (selector_ && platform_ && platform_->known()) selector_->platform_known();
  };
  if (auto r = take(PlatformClient::open(io_, options, callbacks), platform_); !r) return r;
  parts_.platform = platform_.get();
  return done();
}

Result<> Agent::start_network_metrics() {
  std::vector<std::string> names;
  for (const auto &interface : config_.interfaces) names.push_back(interface.name);
  if (!names.empty())
    if (auto r = take(InterfaceRates::open(io_, names), rates_); !r) return r;
  parts_.rates = rates_.get();
  if (config_.has(Role::kNetworkMetricAgent)) {
    NetworkMetricAgentOptions options;
    for (const auto &forwarder : config_.forwarders) options.egresses.push_back({forwarder.name, forwarder.address});
    options.source = config_.tunnel->address;
    options.interval = config_.network_metric_agent->interval;
    options.window = config_.network_metric_agent->window;
    options.port = config_.network_metric_agent->port;
    if (auto r = take(NetworkMetricAgent::open(io_, options), network_metrics_); !r) return r;
    network_metrics_->on_metric([this](const std::string &egress, const cmas::NetworkMetric &metric) {
      selector_->put_metric(egress, metric);
    });
    parts_.network_metrics = network_metrics_.get();
  }
  if (config_.has(Role::kEgress)) {
    ReflectorOptions options;
    options.address = config_.tunnel->address;
    options.port = *config_.reflector_port;
    for (const auto &forwarder : config_.forwarders) options.sources.push_back(forwarder.address);
    if (auto r = take(Reflector::open(io_, options), reflector_); !r) return r;
  }
  return done();
}

void Agent::put_configured_deliveries() {
  std::vector<WantedDelivery> deliveries;
  for (const auto &instance : config_.instances)
    deliveries.push_back({instance.cs_id, instance.csci_id, instance.contact, instance.contact6});
  programmer_->put_deliveries("configuration", std::move(deliveries));
}

void Agent::put_site_deliveries(const std::vector<cmas::SiteRow> &rows) {
  std::vector<WantedDelivery> deliveries;
  for (const auto &row : rows)
    if (!row.contact.empty()) deliveries.push_back({row.row.key.cs_id, row.row.key.csci_id, row.contact, row.contact6});
  programmer_->put_deliveries("service-metric-agent", std::move(deliveries));
}

Result<> Agent::start_service_metrics() {
  const auto &wanted = *config_.service_metric_agent;
  ServiceMetricAgentOptions options;
  options.name = config_.node;
  options.site = wanted.site;
  options.egresses = wanted.egresses;
  for (const auto &peer : wanted.path_selectors) options.path_selectors.push_back({peer.name, peer.address});
  options.hold_time = wanted.hold_time;
  options.tls = files();
  options.domain = config_.tls->domain;
  options.listen = wanted.listen;
  options.site_clients = wanted.site_clients;
  options.database = config_.state_directory + "/site.db";
  if (config_.platform)
    options.resolve_service = [this](const std::string &service_id) -> std::optional<uint32_t> {
      const auto found = cs_ids_.find(service_id);
      return found == cs_ids_.end() ? std::nullopt : std::optional(found->second);
    };
  if (config_.has(Role::kEgress)) {
    std::set<std::string> names;
    for (const auto &interface : config_.interfaces)
      if (interface.sides.contains("service")) names.insert(interface.name);
    if (auto r = take(ServiceNetworks::open(std::move(names)), service_networks_); !r) return r;
    auto &egress = options.egress.emplace();
    egress.check_contact = [this](const std::string &contact) { return service_networks_->check(contact); };
    for (const auto &instance : config_.instances) egress.configured.insert({instance.cs_id, instance.csci_id});
  }
  if (auto r = take(ServiceMetricAgent::open(io_, options), service_metrics_); !r) return r;
  if (config_.has(Role::kEgress)) {
    service_metrics_->on_rows([this](const auto &rows) { put_site_deliveries(rows); });
    programmer_->on_undeliverable([this](const auto &instances) { service_metrics_->set_undeliverable(instances); });
  }
  parts_.service_metrics = service_metrics_.get();
  return done();
}

Result<> Agent::start_apis() {
  if (auto r = take(OperatorApi::open(io_, config_.operator_socket, parts_), operator_api_); !r) return r;
  if (!config_.requests) return done();
  return take(RequestApi::open(
                  io_, {config_.requests->listen, files(), config_.requests->rate_per_source, config_.requests->token},
                  selector_->requests()),
              request_api_);
}

Result<> Agent::start() {
  parts_.config = &config_;
  parts_.started = std::chrono::steady_clock::now();
  if (auto r = prepare(); !r) return r;
  if (config_.forwards())
    if (auto r = start_dataplane(); !r) return r;
  if (config_.has(Role::kEgress)) put_configured_deliveries();
  if (config_.has(Role::kPathSelector))
    if (auto r = start_selector(); !r) return r;
  if (config_.platform)
    if (auto r = start_platform(); !r) return r;
  if (auto r = start_network_metrics(); !r) return r;
  if (config_.has(Role::kServiceMetricAgent))
    if (auto r = start_service_metrics(); !r) return r;
  if (auto r = start_apis(); !r) return r;
  if (programmer_ && !(selector_ && selector_->holding())) programmer_->release();
  if (dataplane_) dataplane_->mend();

  std::string roles;
  for (const Role role : config_.roles) roles += (roles.empty() ? "" : ",") + std::string(name(role));
  log::info("catsbpfd {} started: node={} roles={}", CATSBPF_VERSION, config_.node, roles);
  manager_.ready("node " + config_.node + ", " + roles);
  settle_.expires_after(kSettle);
  settle_.async_wait([this](const boost::system::error_code &error) {
    if (error) return;
    for (const auto &text : warnings_view(parts_)) log::warn("{}", text);
  });
  return done();
}

void Agent::undo() {
  if (dataplane_) dataplane_->undo();
}

void Agent::reload() {
  manager_.reloading();
  const auto wanted = load_config(config_.file);
  if (!wanted) {
    log::error("the configuration is not reloaded, the old one stays in force:\n{}", wanted.error().text());
  } else {
    const auto fixed = needs_restart(config_, *wanted);
    config_.log_level = wanted->log_level;
    if (auto set = log::set_up("catsbpfd", config_.log_level); !set) log::error("{}", set.error().what);
    if (request_api_ && wanted->requests) {
      config_.requests->rate_per_source = wanted->requests->rate_per_source;
      config_.requests->token = wanted->requests->token;
      request_api_->set_limits(config_.requests->rate_per_source, config_.requests->token);
    }
    std::string names;
    for (const auto &field : fixed) names += (names.empty() ? "" : ", ") + field;
    if (!names.empty())
      log::warn("a restart will bring these changes into force: {} (packets do not notice a restart)", names);
    log::info("configuration reloaded: log_level={}", config_.log_level);
  }
  manager_.ready("node " + config_.node);
}

void Agent::stop() {
  log::info(dataplane_ ? "stopping; the data plane goes on with the view in force" : "stopping");
  manager_.stopping();
  settle_.cancel();
  link_changes_.reset();
  if (request_api_) request_api_->stop();
  if (operator_api_) operator_api_->stop();
  if (network_metrics_) network_metrics_->stop();
  if (reflector_) reflector_->stop();
  if (rates_) rates_->stop();
  if (service_metrics_) service_metrics_->stop();
  if (selector_) selector_->stop();
  if (sessions_) sessions_->stop();
  parts_.platform = nullptr;
  platform_.reset();
  settle_.expires_after(kGoodbye);
  settle_.async_wait([this](const boost::system::error_code &) { io_.stop(); });
}

void watch_signals(asio::signal_set &signals, Agent &agent) {
  signals.async_wait([&](const boost::system::error_code &error, int signal) {
    if (error) return;
    if (signal != SIGHUP) return agent.stop();
    agent.reload();
    watch_signals(signals, agent);
  });
}

int fail(const Error &error) {
  std::cerr << "error: " << error.text() << std::endl;
  return 1;
}

int run(Config config) {
  if (auto set = log::set_up("catsbpfd", config.log_level); !set) return fail(set.error());
  asio::io_context io(1);
  Agent agent(io, std::move(config));
  if (auto started = agent.start(); !started) {
    agent.undo();
    return fail(started.error());
  }
  asio::signal_set signals(io, SIGTERM, SIGINT, SIGHUP);
  watch_signals(signals, agent);
  io.run();
  return 0;
}

}  // namespace

int main(int argc, char **argv) {
  namespace po = boost::program_options;
  std::string file;
  po::options_description options("catsbpfd: the host agent of catsbpf, see catsbpfd(8)");
  options.add_options()("config,c", po::value(&file)->default_value("/etc/catsbpf/catsbpfd.yaml"),
                        "configuration, see catsbpfd.yaml(5)")("check", "check the configuration and exit")(
      "uninstall", "detach and remove the data plane of the configuration and exit")(
      "version", "print the version and exit")("help,h", "print this and exit");
  po::variables_map given;
  try {
    po::store(po::command_line_parser(argc, argv).options(options).positional({}).run(), given);
    po::notify(given);
  } catch (const po::error &e) {
    std::cerr << "error: " << e.what() << "\nhint: catsbpfd --help" << std::endl;
    return 2;
  }
  if (given.contains("help")) return std::cout << options, 0;
  if (given.contains("version")) return std::cout << "catsbpfd " CATSBPF_VERSION "\n", 0;

  auto config = load_config(file);
  if (!config) {
    std::cerr << config.error().text() << std::endl;
    return 1;
  }
  if (given.contains("check")) return std::cout << "ok\n", 0;
  if (given.contains("uninstall")) {
    const auto removed = uninstall_dataplane(config->pin_directory);
    if (!removed) return fail(removed.error());
    if (*removed)
      std::cout << "the data plane at " << config->pin_directory << " is removed\n";
    else
      std::cout << "nothing was pinned at " << config->pin_directory << "\n";
    return 0;
  }
  return run(std::move(*config));
}

}  // namespace catsbpf::agent

int main(int argc, char **argv) {
  catsbpf::ignore_signals();
  return catsbpf::agent::main(argc, argv);
}
