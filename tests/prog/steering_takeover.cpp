// SPDX-License-Identifier: Apache-2.0
// Agents come, die and are replaced; traffic must not notice. Two hosts and a forwarder in namespaces of the
// test's own, agents as child processes with the capabilities of the shipped unit.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <set>
#include <thread>

#include "agent/netlink/changes.h"
#include "maps/map.h"
#include "maps/tables.h"
#include "tests/prog/steering_fixture.h"

namespace catsbpf::test {
namespace {

uint32_t xdp_program_id(const std::string &interface) {
  uint32_t id = 0;
  bpf_xdp_query_id(static_cast<int>(if_nametoindex(interface.c_str())), 0, &id);
  return id;
}

// client --- (c0) forwarder (u0) --- egress
class TakeoverTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    for (auto [space, suffix] : {std::pair{&client, "c"}, std::pair{&forwarder, "f"}, std::pair{&egress, "e"}})
      *space = std::make_unique<Namespace>(unique(suffix));
    egress->ip("addr add 10.255.0.2/32 dev lo");
    make_client_side();
    make_underlay();
    shell("ip netns exec " + forwarder->name() + " sysctl -qw net.ipv4.ip_forward=1");
  }
  void make_client_side() const {
    forwarder->ip("link add c0 type veth peer name h0 netns " + client->name());
    client->ip("addr add 10.1.0.2/24 dev h0");
    client->ip("link set h0 up");
    client->ip("route add default via 10.1.0.1");
    forwarder->ip("addr add 10.1.0.1/24 dev c0");
    forwarder->ip("link set c0 up");
    complete_checksums(*client);
  }
  void make_underlay() const {
    forwarder->ip("link add u0 type veth peer name h0 netns " + egress->name());
    forwarder->ip("addr add 172.16.1.1/24 dev u0");
    forwarder->ip("link set u0 mtu 1600 up");
    forwarder->ip("route add 10.255.0.2/32 via 172.16.1.2");
    egress->ip("addr add 172.16.1.2/24 dev h0");
    egress->ip("link set h0 mtu 1600 up");
    complete_checksums(*egress);
  }
  static void complete_checksums(const Namespace &space) {
    shell("ip netns exec " + space.name() + " ethtool -K h0 tx off tso off gso off gro on > /dev/null");
  }
  void TearDown() override {
    agents.clear();
    if (forwarder) {
      const Namespace::Inside inside(*forwarder);
      KernelTest::TearDown();
    }
    for (auto *space : {&client, &forwarder, &egress}) space->reset();
  }

  std::vector<agent::InterfaceOptions> both() const {
    return {{"c0", maps::SIDE_CLIENT, "native"}, {"u0", maps::SIDE_UNDERLAY, "native"}};
  }
  // An agent with one service at 10.99.0.1, behind 10.255.0.2. Ready when all is programmed and resolved.
  std::unique_ptr<Child> start_agent() {
    const auto options = dataplane_options(both());
    return Child::start([this, options](int ready) {
      const Namespace::Inside inside(*forwarder);
      drop_to_agent_capabilities();
      auto dataplane = agent::open_kernel_dataplane(options);
      if (!dataplane) return complain(dataplane.error());
      boost::asio::io_context io;
      agent::ProgrammerOptions programming;
      programming.tunnel_address = "10.255.0.1";
      programming.forwarders = {{"f2", "10.255.0.2"}};
      auto programmer = agent::Programmer::open(io, **dataplane, programming);
      if (!programmer) return complain(programmer.error());
      agent::WantedService service;
      service.service_id = "A";
      service.cs_id = 1;
      service.locators.emplace_back().set_prefix("10.99.0.1");
      service.instances.push_back({1, "f2", agent::InstanceWish::kActive});
      auto ring = std::make_shared<cmas::Ring>();
      ring->members.push_back({1, 1});
      ring->slots.assign(251, 0);
      service.ring = ring;
      (*programmer)->put_service(service);
      auto links = agent::Changes::of_links(io, {"c0", "u0"}, agent::kMend, [&] { (*dataplane)->mend(); });
      if (!links) return complain(links.error());
      bool told = false;
      while (true) {
        io.restart();
        io.run_for(std::chrono::milliseconds(20));
        if (told || (*programmer)->state() != "in sync" || (*programmer)->paths()[0].state != "resolved") continue;
        told = write(ready, "r", 1) == 1;
      }
    });
  }
  static void complain(const Error &error) { std::fprintf(stderr, "agent: %s\n", error.text().c_str()); }

  // Sends numbered packets from the client's side and counts tunnel packets at the egress.
  class Traffic {
   public:
    explicit Traffic(const TakeoverTest &test) {
      const auto open_socket = [](const Namespace &space) {
        const Namespace::Inside inside(space);
        return Fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      };
      sender_ = open_socket(*test.client);
      receiver_ = open_socket(*test.egress);
      sockaddr_in port{};
      port.sin_family = AF_INET;
      port.sin_port = htons(GENEVE_PORT);
      EXPECT_EQ(bind(receiver_.get(), reinterpret_cast<sockaddr *>(&port), sizeof port), 0);
      const int buffer = 64 << 20;
      setsockopt(receiver_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
      sending_ = std::thread([this] { send(); });
    }
    ~Traffic() { stop(); }
    // Stops, waits for the last packets, and answers how many were lost.
    int64_t stop() {
      if (!sending_.joinable()) return lost_;
      stop_ = true;
      sending_.join();
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      char packet[2048];
      int64_t received = 0;
      while (recv(receiver_.get(), packet, sizeof packet, MSG_DONTWAIT) > 0) ++received;
      lost_ = static_cast<int64_t>(sent_) - received;
      return lost_;
    }
    uint64_t sent() const { return sent_; }

   private:
    void send() {
      sockaddr_in to{};
      to.sin_family = AF_INET;
      to.sin_port = htons(4000);
      inet_pton(AF_INET, "10.99.0.1", &to.sin_addr);
      char payload[64] = "";
      while (!stop_) {
        if (sendto(sender_.get(), payload, sizeof payload, 0, reinterpret_cast<sockaddr *>(&to), sizeof to) ==
            sizeof payload)
          ++sent_;
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
    }
    Fd sender_, receiver_;
    std::atomic<bool> stop_{false};
    std::atomic<uint64_t> sent_{0};
    int64_t lost_ = -1;
    std::thread sending_;
  };

  // True when some packets are sent now and all of them are steered.
  bool steered() const {
    Traffic traffic(*this);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return traffic.stop() == 0 && traffic.sent() > 100;
  }
  // True as soon as the condition is, false when it is not within 8 s.
  static bool eventually(const std::function<bool()> &condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(8);
    while (std::chrono::steady_clock::now() < deadline) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return false;
  }
  bool slow_program_on(const std::string &interface) const {
    const std::string command =
        "test -n \"$(ip netns exec " + forwarder->name() + " tc filter show dev " + interface + " ingress)\"";
    return std::system(command.c_str()) == 0;
  }

  std::unique_ptr<Namespace> client, forwarder, egress;
  std::vector<std::unique_ptr<Child>> agents;
};

TEST_F(TakeoverTest, forwarding_goes_on_without_the_agent_and_through_its_return) {
  agents.push_back(start_agent());
  ASSERT_TRUE(agents.back()->wait_ready(10));
  Traffic traffic(*this);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  agents.back()->kill();
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  uint32_t id = 0;
  {
    const Namespace::Inside inside(*forwarder);
    id = xdp_program_id("c0");
    EXPECT_NE(id, 0u);
  }
  for (int generation = 0; generation < 3; ++generation) {
    agents.push_back(start_agent());
    ASSERT_TRUE(agents.back()->wait_ready(10));
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    const Namespace::Inside inside(*forwarder);
    EXPECT_NE(xdp_program_id("c0"), id) << "the program was replaced";
    id = xdp_program_id("c0");
    agents.back()->kill();
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_EQ(traffic.stop(), 0) << "of " << traffic.sent();
  EXPECT_GT(traffic.sent(), 5000u);
  auto tables = maps::Tables::open(pins);
  ASSERT_TRUE(tables.ok()) << tables.error().text();
  const auto outcomes = (*tables)->outcomes();
  ASSERT_TRUE(outcomes.ok());
  EXPECT_EQ((*outcomes)[OUTCOME_forwarded].packets, traffic.sent());
  EXPECT_EQ((*outcomes)[OUTCOME_redirect_failed].packets + (*outcomes)[OUTCOME_redirect_dropped].packets, 0u);
  uint32_t used = 0;
  for (const maps::instance &instance : (*tables)->instances()) used += instance.state != maps::INSTANCE_FREE;
  EXPECT_EQ(used, 1u) << "the same slot in every generation";
}

TEST_F(TakeoverTest, a_second_agent_is_refused_and_told_who_has_the_pins) {
  const Namespace::Inside inside(*forwarder);
  auto first = agent::open_kernel_dataplane(dataplane_options(both()));
  ASSERT_TRUE(first.ok()) << first.error().text();
  const uint32_t id = xdp_program_id("c0");
  auto second = agent::open_kernel_dataplane(dataplane_options(both()));
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().what, "another agent (pid " + std::to_string(getpid()) + ") holds the pins at " + pins);
  EXPECT_FALSE(second.error().hint.empty());
  EXPECT_EQ(xdp_program_id("c0"), id);
  auto uninstalled = agent::uninstall_dataplane(pins);
  EXPECT_FALSE(uninstalled.ok()) << "not under a running agent";
}

TEST_F(TakeoverTest, pins_of_another_layout_are_refused_and_traffic_is_left_alone) {
  agents.push_back(start_agent());
  ASSERT_TRUE(agents.back()->wait_ready(10));
  agents.back()->kill();
  Traffic traffic(*this);
  {
    const Namespace::Inside inside(*forwarder);
    auto control = maps::Map::open_pinned(maps::map_pin(pins, "control"), maps::Access::kReadWrite);
    ASSERT_TRUE(control.ok());
    const uint32_t index = 0;
    maps::control value{};
    ASSERT_TRUE(control->read(&index, &value).ok());
    const uint32_t id = xdp_program_id("c0");
    auto set_layout = [&](uint32_t layout) {
      auto mapped = maps::Array<maps::control>::map(*control);
      ASSERT_TRUE(mapped.ok());
      (*mapped)[0].layout = layout;
    };
    set_layout(999);
    auto refused = agent::open_kernel_dataplane(dataplane_options(both()));
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(refused.error().what.find("map control pinned at " + pins + " has layout 999, this catsbpfd has layout " +
                                        std::to_string(CATSBPF_LAYOUT)),
              std::string::npos)
        << refused.error().what;
    EXPECT_NE(refused.error().hint.find("untouched"), std::string::npos);
    EXPECT_EQ(xdp_program_id("c0"), id);
    auto tables = maps::Tables::open(pins);
    ASSERT_FALSE(tables.ok());
    EXPECT_NE(tables.error().what.find("layout 999"), std::string::npos);
    EXPECT_EQ(tables.error().hint, refused.error().hint) << "one way out, whoever looks";
    set_layout(0);
    auto half_made = maps::Tables::open(pins);
    ASSERT_FALSE(half_made.ok());
    EXPECT_EQ(half_made.error().what, "pins at " + pins + " are not complete");
    set_layout(CATSBPF_LAYOUT);

    // The same layout number, but a map of another shape.
    const std::string pin = maps::map_pin(pins, "paths"), aside = pin + "_aside";
    ASSERT_EQ(rename(pin.c_str(), aside.c_str()), 0);
    const Fd other(bpf_map_create(BPF_MAP_TYPE_ARRAY, "paths", 4, 64, 7, nullptr));
    ASSERT_EQ(bpf_obj_pin(other.get(), pin.c_str()), 0);
    auto misshaped = agent::open_kernel_dataplane(dataplane_options(both()));
    ASSERT_FALSE(misshaped.ok());
    EXPECT_NE(misshaped.error().what.find("map paths pinned at " + pins + " is array, key 4, value 64, 7 entries"),
              std::string::npos)
        << misshaped.error().what;
    EXPECT_EQ(xdp_program_id("c0"), id);
    auto unreadable = maps::Tables::open(pins);
    ASSERT_FALSE(unreadable.ok());
    EXPECT_EQ(unreadable.error().what, "map paths is of another layout: array, key 4, value 64, 7 entries; layout " +
                                           std::to_string(CATSBPF_LAYOUT) + " of this program has elements of " +
                                           std::to_string(sizeof(maps::path)) + " bytes there");
    EXPECT_EQ(unreadable.error().hint, refused.error().hint);
    ASSERT_EQ(rename(aside.c_str(), pin.c_str()), 0);
  }
  EXPECT_EQ(traffic.stop(), 0) << "of " << traffic.sent();
  agents.push_back(start_agent());
  EXPECT_TRUE(agents.back()->wait_ready(10)) << "with the pins as they were all is well again";
}

TEST_F(TakeoverTest, a_flow_table_of_another_size_keeps_its_pins) {
  const Namespace::Inside inside(*forwarder);
  auto options = dataplane_options(both());
  options.flow_entries = 5000;
  {
    auto first = agent::open_kernel_dataplane(options);
    ASSERT_TRUE(first.ok()) << first.error().text();
    EXPECT_EQ((*first)->flows().size(), 2048u);
  }
  options.flow_entries = 100'000;
  auto second = agent::open_kernel_dataplane(options);
  ASSERT_TRUE(second.ok()) << second.error().text();
  EXPECT_EQ((*second)->flows().size(), 2048u);
}

TEST_F(TakeoverTest, an_interface_that_is_no_longer_configured_is_detached) {
  const Namespace::Inside inside(*forwarder);
  {
    auto first = agent::open_kernel_dataplane(dataplane_options(both()));
    ASSERT_TRUE(first.ok()) << first.error().text();
  }
  EXPECT_NE(xdp_program_id("u0"), 0u);
  auto second = agent::open_kernel_dataplane(dataplane_options({{"c0", maps::SIDE_CLIENT, "native"}}));
  ASSERT_TRUE(second.ok()) << second.error().text();
  (*second)->mend();
  EXPECT_EQ(xdp_program_id("u0"), 0u);
  EXPECT_NE(xdp_program_id("c0"), 0u);
  shell("test -z \"$(tc filter show dev u0 ingress)\"");
  shell("test -n \"$(tc filter show dev c0 ingress)\"");
}

TEST_F(TakeoverTest, an_interface_that_was_made_anew_is_attached_anew) {
  {
    const Namespace::Inside inside(*forwarder);
    auto first = agent::open_kernel_dataplane(dataplane_options(both()));
    ASSERT_TRUE(first.ok()) << first.error().text();
  }
  forwarder->ip("link del u0");
  forwarder->ip("link add u0 type veth peer name h0 netns " + egress->name());
  const Namespace::Inside inside(*forwarder);
  auto second = agent::open_kernel_dataplane(dataplane_options(both()));
  ASSERT_TRUE(second.ok()) << second.error().text();
  EXPECT_NE(xdp_program_id("u0"), 0u);
}

TEST_F(TakeoverTest, an_interface_that_is_made_anew_under_a_running_agent_is_steered_again) {
  agents.push_back(start_agent());
  ASSERT_TRUE(agents.back()->wait_ready(10));
  ASSERT_TRUE(eventually([&] { return steered(); }));
  forwarder->ip("link del c0");
  EXPECT_FALSE(steered());
  make_client_side();
  EXPECT_TRUE(eventually([&] { return steered(); })) << "client side";
  EXPECT_TRUE(slow_program_on("c0"));
  forwarder->ip("link del u0");
  EXPECT_FALSE(steered());
  make_underlay();
  EXPECT_TRUE(eventually([&] { return steered(); })) << "underlay";
  EXPECT_TRUE(slow_program_on("u0"));
  const Namespace::Inside inside(*forwarder);
  EXPECT_TRUE(eventually([] { return xdp_program_id("u0") != 0; }));
}

TEST_F(TakeoverTest, what_is_said_of_interfaces_is_what_the_kernel_has) {
  const Namespace::Inside inside(*forwarder);
  auto opened = agent::open_kernel_dataplane(dataplane_options(both()));
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  agent::Dataplane &dataplane = **opened;
  const auto known = [&] {
    auto table = maps::Array<maps::interface>::open_pinned(pins, "interfaces");
    std::set<uint32_t> all;
    for (const auto &entry : table->span())
      if (entry.ifindex) all.insert(entry.ifindex);
    return all;
  };
  EXPECT_EQ(dataplane.interfaces()[0].mode, "native");
  dataplane.mend();
  EXPECT_TRUE(dataplane.warnings().empty());
  const uint32_t before = if_nametoindex("c0"), other = if_nametoindex("u0");
  EXPECT_EQ(known(), (std::set<uint32_t>{before, other}));

  forwarder->ip("link del c0");
  EXPECT_EQ(dataplane.interfaces()[0].mode, "detached");
  EXPECT_EQ(dataplane.interfaces()[0].ifindex, 0u);
  EXPECT_EQ(dataplane.interfaces()[1].mode, "native");
  dataplane.mend();
  EXPECT_EQ(dataplane.warnings(), std::vector<std::string>{"interface c0 does not exist"});
  EXPECT_EQ(known(), std::set<uint32_t>{other});

  // Back, but somebody else was faster.
  make_client_side();
  const uint32_t after = if_nametoindex("c0");
  ASSERT_NE(after, before);
  const Fd foreign(bpf_obj_get(maps::program_pin(pins, "catsbpf_xdp").c_str()));
  ASSERT_EQ(bpf_xdp_attach(static_cast<int>(after), foreign.get(), XDP_FLAGS_DRV_MODE, nullptr), 0);
  dataplane.mend();
  EXPECT_EQ(dataplane.interfaces()[0].mode, "detached");
  ASSERT_EQ(dataplane.warnings().size(), 1u);
  EXPECT_NE(dataplane.warnings()[0].find("cannot attach xdp to c0 in native mode"), std::string::npos)
      << dataplane.warnings()[0];
  ASSERT_EQ(bpf_xdp_detach(static_cast<int>(after), XDP_FLAGS_DRV_MODE, nullptr), 0);
  dataplane.mend();
  EXPECT_EQ(dataplane.interfaces()[0].mode, "native");
  EXPECT_TRUE(dataplane.warnings().empty());
  EXPECT_EQ(known(), (std::set<uint32_t>{after, other}));

  // Addresses of all interfaces, also of one that is none of ours.
  const auto own = [&] {
    const auto tables = maps::Tables::open(pins);
    const auto addresses = (*tables)->own_addresses();
    std::set<std::string> all;
    for (const maps::address &address : *addresses) all.insert(maps::format_address(address));
    return all;
  };
  forwarder->ip("addr add 10.255.0.1/32 dev lo");
  forwarder->ip("addr add 10.9.0.1 peer 10.9.0.2 dev lo");
  forwarder->ip("-6 addr add fd00:1::1/64 dev lo nodad");
  dataplane.mend();
  for (const char *address : {"127.0.0.1", "172.16.1.1", "10.255.0.1", "10.9.0.1", "fd00:1::1"})
    EXPECT_TRUE(own().contains(address)) << address;
  EXPECT_FALSE(own().contains("10.9.0.2"));
  forwarder->ip("addr flush to 10.255.0.1 dev lo");
  dataplane.mend();
  EXPECT_FALSE(own().contains("10.255.0.1"));
  EXPECT_TRUE(own().contains("172.16.1.1"));

  // A link that somebody detached by its pin.
  const Fd link(bpf_obj_get(maps::link_pin(pins, "xdp_c0").c_str()));
  ASSERT_EQ(bpf_link_detach(link.get()), 0);
  EXPECT_EQ(dataplane.interfaces()[0].mode, "detached");
  dataplane.mend();
  EXPECT_EQ(dataplane.interfaces()[0].mode, "native");
}

TEST_F(TakeoverTest, a_removed_clsact_comes_back) {
  agents.push_back(start_agent());
  ASSERT_TRUE(agents.back()->wait_ready(10));
  for (const std::string interface : {"c0", "u0"}) {
    ASSERT_TRUE(slow_program_on(interface));
    shell("ip netns exec " + forwarder->name() + " tc qdisc del dev " + interface + " clsact");
  }
  EXPECT_TRUE(eventually([&] { return slow_program_on("c0") && slow_program_on("u0"); }));
}

TEST_F(TakeoverTest, removed_pins_come_back_and_a_second_agent_takes_over) {
  agents.push_back(start_agent());
  ASSERT_TRUE(agents.back()->wait_ready(10));
  const auto all = [&] {
    auto tables = maps::Tables::open(pins);
    return tables.ok() && access(maps::link_pin(pins, "xdp_c0").c_str(), F_OK) == 0 &&
           access(maps::link_pin(pins, "xdp_u0").c_str(), F_OK) == 0 &&
           access(maps::program_pin(pins, "catsbpf_slow").c_str(), F_OK) == 0;
  };
  ASSERT_TRUE(eventually([&] { return steered(); }));
  Traffic traffic(*this);
  const auto inode = [&] {
    struct stat pin {};
    return stat(maps::link_pin(pins, "xdp_c0").c_str(), &pin) == 0 ? pin.st_ino : 0;
  };
  for (const char *part : {"/links/xdp_c0", "/links", "/*", ""}) {
    const auto before = inode();
    shell("rm -rf " + pins + part);
    ASSERT_TRUE(eventually([&] { return all() && inode() != before; })) << part;
  }
  {
    const Namespace::Inside inside(*forwarder);
    auto refused = agent::open_kernel_dataplane(dataplane_options(both()));
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(refused.error().what.find("another agent"), std::string::npos) << refused.error().what;
  }
  agents.back()->kill();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  agents.push_back(start_agent());
  EXPECT_TRUE(agents.back()->wait_ready(10));
  EXPECT_EQ(traffic.stop(), 0) << "of " << traffic.sent();
}

TEST_F(TakeoverTest, uninstall_leaves_nothing) {
  agents.push_back(start_agent());
  ASSERT_TRUE(agents.back()->wait_ready(10));
  shell("ip -n " + forwarder->name() + " neigh show 172.16.1.2 | grep -q managed");
  agents.back()->kill();
  const Namespace::Inside inside(*forwarder);
  auto removed = agent::uninstall_dataplane(pins);
  ASSERT_TRUE(removed.ok()) << removed.error().text();
  EXPECT_TRUE(*removed);
  EXPECT_NE(access(pins.c_str(), F_OK), 0);
  EXPECT_EQ(xdp_program_id("c0"), 0u);
  shell("! tc qdisc show | grep -q clsact");
  shell("! ip neigh show | grep -q managed");
  removed = agent::uninstall_dataplane(pins);
  ASSERT_TRUE(removed.ok()) << "nothing there is fine, " << removed.error().text();
  EXPECT_FALSE(*removed) << "and told";
}

TEST_F(TakeoverTest, uninstall_leaves_neighbours_on_interfaces_that_it_does_not_have) {
  agents.push_back(start_agent());
  ASSERT_TRUE(agents.back()->wait_ready(10));
  agents.back()->kill();
  const Namespace::Inside inside(*forwarder);
  auto interfaces = maps::Array<maps::interface>::open_pinned(pins, "interfaces");
  ASSERT_TRUE(interfaces.ok()) << interfaces.error().text();
  for (maps::interface &interface : interfaces->span())
    if (interface.ifindex == if_nametoindex("u0")) interface.ifindex = 0;
  ASSERT_TRUE(agent::uninstall_dataplane(pins).ok());
  shell("ip neigh show 172.16.1.2 | grep -q managed");
}

TEST_F(TakeoverTest, uninstall_leaves_what_was_there_and_what_others_use) {
  const Namespace::Inside inside(*forwarder);
  shell("tc qdisc add dev c0 clsact");
  for (int generation = 0; generation < 2; ++generation) {
    ASSERT_TRUE(agent::open_kernel_dataplane(dataplane_options(both())).ok());
  }
  shell("tc filter add dev u0 egress bpf direct-action object-pinned " + maps::program_pin(pins, "catsbpf_slow"));
  ASSERT_TRUE(agent::uninstall_dataplane(pins).ok());
  shell("tc qdisc show dev c0 | grep -q clsact");
  shell("test -z \"$(tc filter show dev c0 ingress)\"");
  shell("tc filter show dev u0 egress | grep -q direct-action");
  shell("test -z \"$(tc filter show dev u0 ingress)\"");
}

// What the map `interfaces` says of an interface.
std::optional<maps::interface> described(const std::string &pins, const std::string &name) {
  auto table = maps::Array<maps::interface>::open_pinned(pins, "interfaces");
  for (const auto &entry : table->span())
    if (entry.ifindex != 0 && entry.ifindex == if_nametoindex(name.c_str())) return entry;
  return std::nullopt;
}

TEST_F(TakeoverTest, the_addresses_of_an_interface_are_known_and_kept_current) {
  const Namespace::Inside inside(*forwarder);
  forwarder->ip("link set c0 address 02:00:00:00:00:01");
  auto opened = agent::open_kernel_dataplane(dataplane_options(both()));
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  EXPECT_EQ(described(pins, "c0")->mac[5], 1);
  forwarder->ip("link set c0 address 02:00:00:00:00:02");
  forwarder->ip("link add link c0 name v0 address 00:00:5e:00:01:07 type macvlan mode private");
  (*opened)->mend();
  EXPECT_EQ(described(pins, "c0")->mac[5], 2);
  EXPECT_EQ(described(pins, "c0")->further_macs, 0) << "the macvlan is down";
  forwarder->ip("link set v0 up");
  (*opened)->mend();
  ASSERT_EQ(described(pins, "c0")->further_macs, 1);
  EXPECT_EQ(described(pins, "c0")->further_mac[0][5], 7);
  forwarder->ip("link set v0 netns " + client->name());
  (*opened)->mend();
  EXPECT_EQ(described(pins, "c0")->further_macs, 0) << "it is a container's now";
  EXPECT_TRUE((*opened)->warnings().empty());
}

TEST_F(TakeoverTest, steering_goes_on_when_the_address_of_an_interface_changes) {
  agents.push_back(start_agent());
  ASSERT_TRUE(agents.back()->wait_ready(10));
  ASSERT_TRUE(eventually([&] { return steered(); }));
  for (const char *change : {"link set c0 address 02:00:00:00:00:09",
                             "link add link c0 name v0 address 00:00:5e:00:01:07 up type macvlan mode private"}) {
    forwarder->ip(change);
    const bool virtual_router = std::string(change).find("macvlan") != std::string::npos;
    client->ip(std::string("neigh replace 10.1.0.1 dev h0 nud permanent lladdr ") +
               (virtual_router ? "00:00:5e:00:01:07" : "02:00:00:00:00:09"));
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // far less than until the next look without an event
    EXPECT_TRUE(steered()) << change;
  }
  client->ip("neigh replace 10.1.0.1 dev h0 nud permanent lladdr 02:00:00:00:00:66");
  EXPECT_FALSE(steered()) << "frames to another host";
}

TEST_F(TakeoverTest, what_cannot_be_attached_is_explained) {
  const Namespace::Inside inside(*forwarder);
  auto native = agent::open_kernel_dataplane(dataplane_options({{"lo", maps::SIDE_CLIENT, "native"}}));
  ASSERT_FALSE(native.ok());
  EXPECT_NE(native.error().what.find("cannot attach xdp to lo in native mode"), std::string::npos)
      << native.error().what;
  EXPECT_NE(native.error().hint.find("mode: generic"), std::string::npos) << native.error().hint;
  shell("! tc qdisc show dev lo | grep -q clsact");
  auto missing = agent::open_kernel_dataplane(dataplane_options({{"nosuch0", maps::SIDE_CLIENT, "native"}}));
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().what, "interface nosuch0 does not exist");
  auto elsewhere = dataplane_options(both());
  elsewhere.pin_directory = "/tmp/" + unique("pins");
  auto no_bpffs = agent::open_kernel_dataplane(elsewhere);
  ASSERT_FALSE(no_bpffs.ok());
  EXPECT_NE(no_bpffs.error().what.find("is not on a bpf filesystem"), std::string::npos);
}

}  // namespace
}  // namespace catsbpf::test
