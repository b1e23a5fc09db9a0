// SPDX-License-Identifier: Apache-2.0
#include "agent/dataplane/features.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/capability.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <utility>

#include "util/fd.h"
#include "util/log.h"

namespace catsbpf::agent {

namespace {

constexpr size_t kMostMessages = 600;  // characters: the first lines say what is wrong

std::mutex messages_mutex;  // libbpf's sink is one per process
std::string messages;

int on_message(libbpf_print_level level, const char *format, va_list arguments) {
  if (level == LIBBPF_DEBUG) return 0;
  char text[1024];
  const int length = std::vsnprintf(text, sizeof text, format, arguments);
  std::string line(text, length < 0 ? 0 : std::min<size_t>(static_cast<size_t>(length), sizeof text - 1));
  while (!line.empty() && line.back() == '\n') line.pop_back();
  log::debug("{}", line);
  std::lock_guard lock(messages_mutex);
  if (level == LIBBPF_WARN && messages.size() < kMostMessages) messages += (messages.empty() ? "" : "; ") + line;
  return 0;
}

bool has_btf() { return access("/sys/kernel/btf/vmlinux", R_OK) == 0; }
bool has_mmap() {
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
  return Fd(bpf_map_create(BPF_MAP_TYPE_ARRAY, "probe", 4, 8, 1, &options)).valid();
}
bool has_jiffies() { return libbpf_probe_bpf_helper(BPF_PROG_TYPE_XDP, BPF_FUNC_jiffies64, nullptr) == 1; }
bool has_timer() { return libbpf_probe_bpf_helper(BPF_PROG_TYPE_XDP, BPF_FUNC_timer_init, nullptr) == 1; }
bool has_loop() { return libbpf_probe_bpf_helper(BPF_PROG_TYPE_XDP, BPF_FUNC_loop, nullptr) == 1; }
bool has_redirect_neigh() {
  return libbpf_probe_bpf_helper(BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_redirect_neigh, nullptr) == 1;
}
bool has_syscall_programs() { return libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_SYSCALL, nullptr) == 1; }
bool has_tracing() { return libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_TRACING, nullptr) == 1; }

constexpr Feature kNeeded[] = {
    {"type information of the kernel (CONFIG_DEBUG_INFO_BTF, /sys/kernel/btf/vmlinux)", "5.5", has_btf},
    {"memory-mapped maps (BPF_F_MMAPABLE)", "5.5", has_mmap},
    {"typed tracing programs", "5.5", has_tracing},
    {"bpf_jiffies64", "5.6", has_jiffies},
    {"bpf_redirect_neigh", "5.10", has_redirect_neigh},
    {"syscall programs", "5.14", has_syscall_programs},
    {"bpf_timer", "5.15", has_timer},
    {"bpf_loop", "5.17", has_loop},
};

}  // namespace

std::span<const Feature> needed_features() { return kNeeded; }

namespace {

// Capabilities that the agent needs and this process has not, from /proc; "" when it has all, or none can be told.
std::string missing_capabilities() {
  constexpr std::pair<unsigned, const char *> kCapabilities[] = {
      {CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {CAP_PERFMON, "CAP_PERFMON"}, {CAP_BPF, "CAP_BPF"}};
  std::ifstream status("/proc/self/status");
  std::string line, missing;
  while (std::getline(status, line)) {
    if (!line.starts_with("CapEff:")) continue;
    const uint64_t has = std::strtoull(line.c_str() + std::strlen("CapEff:"), nullptr, 16);
    const auto holds = [has](unsigned bit) { return (has >> bit & 1) != 0; };
    for (const auto &[bit, name] : kCapabilities)
      if (!holds(bit) && !(bit != CAP_NET_ADMIN && holds(CAP_SYS_ADMIN)))
        missing += (missing.empty() ? "" : ", ") + std::string(name);
  }
  return missing;
}

}  // namespace

Error explain_refusal(int code, const std::string &libbpf_said, std::span<const Feature> features) {
  if (code == EPERM || code == EACCES) {
    // The verifier says EACCES too: then it has said why.
    if (libbpf_said.find("BPF program load failed") == std::string::npos || code == EPERM)
      return system_error("cannot load the data plane", code,
                          "the agent needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (root, or the shipped systemd unit)");
  }
  // Without them probes for features fail, too.
  if (const std::string lacks = missing_capabilities(); !lacks.empty())
    return Error{"cannot load the data plane: the agent lacks " + lacks,
                 "start it as root, or by the shipped systemd unit", code};
  utsname kernel{};
  uname(&kernel);
  std::string missing, needed;
  for (const Feature &feature : features) {
    if (feature.present()) continue;
    missing += (missing.empty() ? "" : ", ") + std::string(feature.name);
    needed = feature.kernel;  // the list is in the order of releases
  }
  if (!missing.empty())
    return Error{"cannot load the data plane: kernel " + std::string(kernel.release) + " lacks " + missing,
                 "use kernel " + needed + " or later (6.1 is tested)", code};
  return Error{"cannot load the data plane on kernel " + std::string(kernel.release) + ": " + std::strerror(code) +
                   (libbpf_said.empty() ? "" : ": " + libbpf_said),
               "log_level debug shows all that the verifier said", code};
}

void collect_libbpf_messages() { libbpf_set_print(on_message); }

std::string take_libbpf_messages() {
  std::lock_guard lock(messages_mutex);
  return std::exchange(messages, {});
}

}  // namespace catsbpf::agent
