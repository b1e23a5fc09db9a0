// SPDX-License-Identifier: Apache-2.0
#include "agent/dataplane/pins.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <optional>
#include <set>
#include <thread>

#include "maps/contract.h"
#include "maps/tables.h"
#include "util/log.h"

namespace catsbpf::agent {

namespace {

constexpr long kBpfFs = 0xcafe4a11;  // BPF_FS_MAGIC
const std::set<std::string> kSizedByAgent = {"flows", "flow_records", "rings"};
constexpr std::chrono::milliseconds kAskForLock{20};

Result<> make_directory(const std::string &path) {
  if (mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return done();
  return system_error("cannot make pin directory " + path, errno,
                      errno == EACCES || errno == EPERM ? "run as root, or give its owner's uid to the agent" : "");
}

// /proc/locks: "1: FLOCK  ADVISORY  WRITE 1234 00:1f:5678 0 EOF"
std::string holder_of(const struct stat &directory) {
  std::ifstream locks("/proc/locks");
  char file[64];
  std::snprintf(file, sizeof file, "%02x:%02x:%llu", major(directory.st_dev), minor(directory.st_dev),
                static_cast<unsigned long long>(directory.st_ino));
  std::string number, kind, advisory, mode, pid, where, rest;
  while (locks >> number >> kind >> advisory >> mode >> pid >> where && std::getline(locks, rest))
    if (kind == "FLOCK" && where == file) return pid;
  return "";
}

maps::MapShape declared_shape(const bpf_map *map) {
  return {static_cast<uint32_t>(bpf_map__type(map)), bpf_map__key_size(map), bpf_map__value_size(map),
          bpf_map__max_entries(map), bpf_map__map_flags(map)};
}

// The layout of what is pinned, which is ours. 0: an agent died while it made the pins; nothing is attached to them.
// Empty: none is said.
Result<std::optional<uint32_t>> check_layout(const std::string &pin_directory) {
  std::optional<uint32_t> none;
  auto control = maps::Map::open_pinned(maps::map_pin(pin_directory, "control"), maps::Access::kReadOnly);
  if (!control && control.error().code == ENOENT) return none;
  if (!control) return control.error();
  std::vector<char> value(std::max<size_t>(control->shape().value_bytes, sizeof(uint32_t)));
  const uint32_t index = 0;
  if (auto read = control->read(&index, value.data()); !read) return read.error();
  uint32_t layout = 0;
  std::memcpy(&layout, value.data(), sizeof layout);
  if (layout == CATSBPF_LAYOUT || layout == 0) return std::optional(layout);
  return Error{"map control pinned at " + pin_directory + " has layout " + std::to_string(layout) +
                   ", this catsbpfd has layout " + std::to_string(CATSBPF_LAYOUT),
               maps::kOtherPinsHint};
}

// What goes with a map whose pin is gone while the others are there.
std::string loss_of(const std::string &map) {
  if (map == "flows") return "flows begin anew: each takes an instance as a new flow does";
  if (map == "secret") return "flows begin anew: their entries are not found under a new secret";
  if (map == "flow_records") return "flows go on, but their addresses and counts are forgotten";
  if (map == "sessions") return "granted requests steer nothing until they are programmed again";
  if (map == "icmp_budget") return "answers to packets that are too big begin with a whole burst";
  if (map == "outcomes" || map.ends_with("_counters")) return "its counts begin at 0";
  return "what it says is programmed again";
}

// Once. Error::code EWOULDBLOCK: another agent has it. The directory is opened each time: its name may be another
// directory's by the next time.
Result<Fd> try_lock(const std::string &path) {
  Fd directory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return system_error("cannot open pin directory " + path, errno);
  struct stat status {};
  if (fstat(directory.get(), &status) != 0) return system_error("cannot inspect pin directory " + path, errno);
  if (flock(directory.get(), LOCK_EX | LOCK_NB) == 0) return directory;
  if (errno != EWOULDBLOCK) return system_error("cannot lock pin directory " + path, errno);
  const std::string pid = holder_of(status);
  return Error{"another agent" + (pid.empty() ? std::string() : " (pid " + pid + ")") + " holds the pins at " + path,
               "stop it first, or give this agent a pin_directory of its own", EWOULDBLOCK};
}

}  // namespace

Result<> make_pin_directory(const std::string &path) {
  if (path.empty() || path[0] != '/') return Error{"pin directory '" + path + "' is no absolute path"};
  std::vector<std::string> missing;
  std::string existing = path;
  struct stat status {};
  while (stat(existing.c_str(), &status) != 0) {
    missing.push_back(existing);
    existing = existing.substr(0, existing.rfind('/'));
    if (existing.empty()) existing = "/";
  }
  struct statfs filesystem {};
  if (statfs(existing.c_str(), &filesystem) != 0) return system_error("cannot inspect " + existing, errno);
  if (static_cast<long>(filesystem.f_type) != kBpfFs)
    return Error{"pin directory " + path + " is not on a bpf filesystem", "mount one: mount -t bpf bpf /sys/fs/bpf"};
  for (auto it = missing.rbegin(); it != missing.rend(); ++it)
    if (auto made = make_directory(*it); !made) return made;
  for (const char *part : {kPrograms, kLinks, kQdiscs})
    if (auto made = make_directory(path + part); !made) return made;
  return done();
}

Result<Fd> lock_pin_directory(const std::string &path, std::chrono::milliseconds patience) {
  auto lock = try_lock(path);
  if (lock || lock.error().code != EWOULDBLOCK || patience.count() <= 0) return lock;
  log::info("{}: waiting for its end patience_ms={}", lock.error().what, patience.count());
  const auto limit = std::chrono::steady_clock::now() + patience;
  while (!lock && lock.error().code == EWOULDBLOCK && std::chrono::steady_clock::now() < limit) {
    std::this_thread::sleep_for(kAskForLock);
    lock = try_lock(path);
  }
  return lock;
}

Result<> keep_pin_directory(const std::string &path, Fd &lock) {
  if (auto made = make_pin_directory(path); !made) return made;
  struct stat held {
  }, found{};
  if (fstat(lock.get(), &held) == 0 && stat(path.c_str(), &found) == 0 && held.st_ino == found.st_ino &&
      held.st_dev == found.st_dev)
    return done();
  auto fresh = lock_pin_directory(path, std::chrono::milliseconds(0));  // asked again at the next mend
  if (!fresh) return fresh.error();
  lock = std::move(*fresh);
  return done();
}

Result<> reuse_pinned_maps(bpf_object *object, const std::string &pin_directory) {
  const auto layout = check_layout(pin_directory);
  if (!layout) return layout.error();
  std::vector<std::string> missing;
  std::vector<std::pair<bpf_map *, maps::Map>> pinned;
  bpf_map *map = nullptr;
  bpf_object__for_each_map(map, object) {
    const std::string name = maps::table_name(object, map);
    if (name.empty()) continue;
    auto found = maps::Map::open_pinned(maps::map_pin(pin_directory, name), maps::Access::kReadWrite);
    if (!found) {
      if (found.error().code != ENOENT) return found.error();
      missing.push_back(name);
      continue;
    }
    maps::MapShape declared = declared_shape(map);
    if (kSizedByAgent.contains(name) && declared.entries != found->shape().entries) {
      log::warn("map {} keeps its pinned size entries={} configured={}; for the other size: catsbpfd --uninstall", name,
                found->shape().entries, declared.entries);
      declared.entries = found->shape().entries;
    }
    if (!(declared == found->shape()))
      return Error{"map " + name + " pinned at " + pin_directory + " is " + maps::describe(found->shape(), declared) +
                       ", this catsbpfd (layout " + std::to_string(CATSBPF_LAYOUT) + ") needs " +
                       maps::describe(declared, found->shape()),
                   maps::kOtherPinsHint};
    pinned.emplace_back(map, std::move(*found));
  }
  for (auto &[declared, found] : pinned) {
    if (int error = bpf_map__set_max_entries(declared, found.shape().entries); error != 0)
      return system_error("cannot size map " + found.name(), -error);
    if (int error = bpf_map__reuse_fd(declared, found.fd()); error != 0)
      return system_error("cannot reuse map " + found.name(), -error);
  }
  const bool complete = !pinned.empty() && *layout != 0U;
  for (const std::string &name : missing)
    if (complete)
      log::warn("pin {} was removed and is made anew: {}", maps::map_pin(pin_directory, name), loss_of(name));
  return done();
}

Result<> check_nothing_foreign(const std::string &pin_directory) {
  // With a layout of its own, another version's pins may have other names; check_layout() speaks of them.
  if (access(maps::map_pin(pin_directory, "control").c_str(), F_OK) == 0) return done();
  const auto names = maps::map_names();
  for (const std::string &name : list_pins(pin_directory)) {
    const std::string part = "/" + name;
    if (part == kPrograms || part == kLinks || part == kQdiscs) continue;
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    return Error{"pin directory " + pin_directory + " holds '" + name + "', which is none of catsbpf's",
                 "name a directory of its own as `pin_directory`, which need not exist yet"};
  }
  return done();
}

bool pins_nothing(const std::string &pin_directory) {
  const auto parts = list_pins(pin_directory);
  return std::all_of(parts.begin(), parts.end(),
                     [](const std::string &name) {
                       const std::string part = "/" + name;
                       return part == kPrograms || part == kLinks || part == kQdiscs;
                     }) &&
         list_pins(pin_directory + kLinks).empty();
}

Result<> pin_new_maps(bpf_object *object, const std::string &pin_directory) {
  bpf_map *map = nullptr;
  bpf_object__for_each_map(map, object) {
    const std::string name = maps::table_name(object, map);
    if (name.empty()) continue;
    const std::string path = maps::map_pin(pin_directory, name);
    if (access(path.c_str(), F_OK) == 0) continue;
    if (bpf_obj_pin(bpf_map__fd(map), path.c_str()) != 0) return system_error("cannot pin map " + path, errno);
  }
  return done();
}

Result<> replace_pin(int fd, const std::string &path) {
  const std::string fresh = path + "_new";  // bpffs allows no dots
  unlink(fresh.c_str());
  if (bpf_obj_pin(fd, fresh.c_str()) != 0) return system_error("cannot pin " + fresh, errno);
  if (rename(fresh.c_str(), path.c_str()) != 0) {
    const int code = errno;
    unlink(fresh.c_str());
    return system_error("cannot put pin " + path + " in place", code);
  }
  return done();
}

ObjectId object_id(int fd) {
  // bpf_map_info, bpf_prog_info and bpf_link_info all begin so.
  ObjectId info;
  uint32_t length = sizeof info;
  return bpf_obj_get_info_by_fd(fd, &info, &length) == 0 ? info : ObjectId{};
}

bool is_pinned(int fd, const std::string &path) {
  const Fd pinned(bpf_obj_get(path.c_str()));
  return pinned.valid() && object_id(pinned.get()) == object_id(fd);
}

std::vector<std::string> list_pins(const std::string &directory) {
  std::vector<std::string> names;
  DIR *stream = opendir(directory.c_str());
  if (!stream) return names;
  while (const dirent *entry = readdir(stream))
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  closedir(stream);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace catsbpf::agent
