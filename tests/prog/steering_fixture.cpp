// SPDX-License-Identifier: Apache-2.0
#include "tests/prog/steering_fixture.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace catsbpf::test {

namespace {
constexpr const char *kBpffs = "/sys/fs/bpf";
constexpr long kBpffsMagic = 0xcafe4a11;
}  // namespace

void shell(const std::string &command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }

Namespace::Namespace(const std::string &name) : name_(name) {
  shell("ip netns add " + name_);
  ip("link set lo up");
}
Namespace::~Namespace() { shell("ip netns del " + name_); }
void Namespace::ip(const std::string &arguments) const { shell("ip -n " + name_ + " " + arguments); }

Namespace::Inside::Inside(const Namespace &where) : before_(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
  const Fd inside(open(("/run/netns/" + where.name()).c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(setns(inside.get(), CLONE_NEWNET), 0) << where.name();
}
Namespace::Inside::~Inside() { EXPECT_EQ(setns(before_.get(), CLONE_NEWNET), 0); }

void KernelTest::SetUp() {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  struct statfs filesystem {};
  if (statfs(kBpffs, &filesystem) != 0 || static_cast<long>(filesystem.f_type) != kBpffsMagic) {
    ASSERT_EQ(mount("bpf", kBpffs, "bpf", 0, nullptr), 0) << std::strerror(errno);
  }
  pins = std::string(kBpffs) + "/" + unique("pins");
}

void KernelTest::TearDown() {
  if (pins.empty()) return;
  auto removed = agent::uninstall_dataplane(pins);
  EXPECT_TRUE(removed.ok()) << removed.error().text();
}

std::string KernelTest::unique(const std::string &suffix) const {
  return ("h2-" + std::to_string(getpid()) + "-" + suffix).substr(0, 15);
}

agent::DataplaneOptions KernelTest::dataplane_options(const std::vector<agent::InterfaceOptions> &interfaces) const {
  agent::DataplaneOptions options;
  options.pin_directory = pins;
  options.interfaces = interfaces;
  return options;
}

void drop_to_agent_capabilities() {
  const uint64_t keep =
      1ULL << CAP_BPF | 1ULL << CAP_NET_ADMIN | 1ULL << CAP_NET_RAW | 1ULL << CAP_PERFMON | 1ULL << CAP_SYS_NICE;
  for (int capability = 0; capability <= CAP_LAST_CAP; ++capability)
    if (!(keep >> capability & 1)) prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  for (int word = 0; word < 2; ++word)
    data[word].effective = data[word].permitted = static_cast<uint32_t>(keep >> (32 * word));
  if (syscall(SYS_capset, &header, data) != 0) _exit(3);
}

std::unique_ptr<Child> Child::start(const std::function<void(int)> &work) {
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  Fd reading(ends[0]), writing(ends[1]);
  const int pid = fork();
  EXPECT_GE(pid, 0);
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    work(writing.get());
    _exit(1);
  }
  return std::unique_ptr<Child>(new Child(pid, std::move(reading)));
}

Child::~Child() { kill(); }

bool Child::wait_ready(int seconds) const {
  pollfd events{ready_.get(), POLLIN, 0};
  char byte = 0;
  return poll(&events, 1, seconds * 1000) == 1 && read(ready_.get(), &byte, 1) == 1;
}

void Child::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = 0;
}

int run_packet(int program, uint32_t ingress_ifindex, std::vector<uint8_t> &frame) {
  uint8_t out[2048];
  xdp_md context{};
  context.data_end = static_cast<uint32_t>(frame.size());
  context.ingress_ifindex = ingress_ifindex;
  LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame.data(), .data_out = out,
              .data_size_in = static_cast<uint32_t>(frame.size()), .data_size_out = sizeof out, .ctx_in = &context,
              .ctx_size_in = sizeof context);
  if (bpf_prog_test_run_opts(program, &run) != 0) return -errno;
  frame.assign(out, out + run.data_size_out);
  return static_cast<int>(run.retval);
}

std::vector<uint8_t> udp_frame(uint32_t source, uint16_t port, uint32_t destination) {
  constexpr uint16_t kPayload = 64;
  std::vector<uint8_t> frame(ETH_HLEN + sizeof(iphdr) + sizeof(udphdr) + kPayload);
  frame[5] = frame[11] = 2;
  frame[12] = ETH_P_IP >> 8;
  iphdr ip{};
  ip.version = 4;
  ip.ihl = 5;
  ip.tot_len = htons(static_cast<uint16_t>(frame.size() - ETH_HLEN));
  ip.ttl = 64;
  ip.protocol = IPPROTO_UDP;
  ip.saddr = htonl(source);
  ip.daddr = htonl(destination);
  uint32_t sum = 0;
  const auto *words = reinterpret_cast<const uint8_t *>(&ip);
  for (size_t i = 0; i < sizeof ip; i += 2) sum += static_cast<uint32_t>(words[i] << 8 | words[i + 1]);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  ip.check = htons(static_cast<uint16_t>(~sum));
  udphdr udp{};
  udp.source = htons(port);
  udp.dest = htons(4000);
  udp.len = htons(sizeof udp + kPayload);
  std::memcpy(frame.data() + ETH_HLEN, &ip, sizeof ip);
  std::memcpy(frame.data() + ETH_HLEN + sizeof ip, &udp, sizeof udp);
  return frame;
}

OptionIds option_ids(const std::vector<uint8_t> &frame) {
  const size_t option = GENEVE_HEADROOM - sizeof(maps::cats_option);
  if (frame.size() < GENEVE_HEADROOM || frame[36] != GENEVE_PORT >> 8 || frame[37] != (GENEVE_PORT & 0xff)) return {};
  maps::cats_option ids;
  std::memcpy(&ids, frame.data() + option, sizeof ids);
  return {ntohl(ids.cs_id), ntohl(ids.csci_id)};
}

}  // namespace catsbpf::test
