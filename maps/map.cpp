// SPDX-License-Identifier: Apache-2.0
#include "maps/map.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>

#include "maps/contract.h"

namespace catsbpf::maps {

namespace {

std::string base_name(const std::string &path) { return path.substr(path.rfind('/') + 1); }

size_t mapped_bytes(const MapShape &shape) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t stride = (shape.value_bytes + 7) / 8 * 8;
  return (stride * shape.entries + page - 1) / page * page;
}

}  // namespace

std::string map_type_name(uint32_t type) {
  const char *name = libbpf_bpf_map_type_str(static_cast<bpf_map_type>(type));
  return name ? name : "type " + std::to_string(type);
}

std::string describe(const MapShape &shape) {
  return map_type_name(shape.type) + ", key " + std::to_string(shape.key_bytes) + ", value " +
         std::to_string(shape.value_bytes) + ", " + std::to_string(shape.entries) + " entries";
}

std::string describe(const MapShape &shape, const MapShape &other) {
  if (shape.flags == other.flags) return describe(shape);
  char flags[16];
  std::snprintf(flags, sizeof flags, "%#x", shape.flags);
  return describe(shape) + ", flags " + flags;
}

Result<Map> Map::open_pinned(const std::string &path, Access access) {
  LIBBPF_OPTS(bpf_obj_get_opts, options,
              .file_flags = access == Access::kReadOnly ? static_cast<uint32_t>(BPF_F_RDONLY) : 0u);
  Fd fd(bpf_obj_get_opts(path.c_str(), &options));
  if (!fd.valid()) {
    const int code = errno;
    const bool privilege = code == EPERM || code == EACCES;
    return system_error("cannot open map " + path, code, privilege ? "root or CAP_BPF is needed: try sudo" : "");
  }
  bpf_map_info info{};
  uint32_t length = sizeof info;
  if (bpf_obj_get_info_by_fd(fd.get(), &info, &length) != 0) return system_error("cannot inspect map " + path, errno);
  MapShape shape{info.type, info.key_size, info.value_size, info.max_entries, info.map_flags};
  return Map(std::move(fd), base_name(path), shape);
}

uint64_t Map::memory_bytes() const {
  std::ifstream info("/proc/self/fdinfo/" + std::to_string(fd_.get()));
  std::string word;
  while (info >> word) {
    uint64_t bytes = 0;
    if (word == "memlock:" && info >> bytes) return bytes;
  }
  return 0;
}

Result<> Map::read(const void *key, void *value) const {
  if (bpf_map_lookup_elem(fd_.get(), key, value) != 0) return system_error("cannot read map " + name_, errno);
  return done();
}

Result<> Map::write(const void *key, const void *value) const {
  if (bpf_map_update_elem(fd_.get(), key, value, BPF_ANY) == 0) return done();
  return system_error("cannot write map " + name_, errno, errno == E2BIG ? "the map is full" : "");
}

Result<> Map::erase(const void *key) const {
  if (bpf_map_delete_elem(fd_.get(), key) != 0) return system_error("cannot remove from map " + name_, errno);
  return done();
}

Result<std::vector<char>> Map::keys() const {
  std::vector<char> keys, key(shape_.key_bytes);
  // Bounded: a key that is removed under us makes the kernel begin anew.
  const size_t most = 2 * static_cast<size_t>(shape_.entries) * shape_.key_bytes;
  const void *previous = nullptr;
  while (keys.size() < most) {
    if (bpf_map_get_next_key(fd_.get(), previous, key.data()) != 0) {
      if (errno == ENOENT) break;
      return system_error("cannot list map " + name_, errno);
    }
    keys.insert(keys.end(), key.begin(), key.end());
    previous = key.data();
  }
  return keys;
}

Result<Mapping> Mapping::map(const Map &map, Access access) {
  if (!(map.shape().flags & BPF_F_MMAPABLE))
    return Error{"map " + map.name() + " cannot be mapped into memory: it lacks BPF_F_MMAPABLE"};
  Mapping mapping;
  mapping.bytes_ = mapped_bytes(map.shape());
  const int protection = access == Access::kReadOnly ? PROT_READ : PROT_READ | PROT_WRITE;
  void *memory = mmap(nullptr, mapping.bytes_, protection, MAP_SHARED, map.fd(), 0);
  if (memory == MAP_FAILED) return system_error("cannot map " + map.name() + " into memory", errno);
  mapping.memory_ = memory;
  return mapping;
}

Mapping &Mapping::operator=(Mapping &&other) noexcept {
  std::swap(memory_, other.memory_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Mapping::~Mapping() {
  if (memory_) munmap(memory_, bytes_);
}

Error misshaped(const Map &map, size_t element_bytes) {
  return Error{"map " + map.name() + " is of another layout: " + describe(map.shape()) + "; layout " +
                   std::to_string(CATSBPF_LAYOUT) + " of this program has elements of " +
                   std::to_string(element_bytes) + " bytes there",
               kOtherPinsHint};
}

int possible_cpus() {
  static const int cpus = libbpf_num_possible_cpus();
  return cpus > 0 ? cpus : 1;
}

std::string table_name(const bpf_object *object, const bpf_map *map) {
  if (!bpf_map__is_internal(map)) return bpf_map__name(map);
  // libbpf cuts a section's name to 15 characters; the types have it whole.
  constexpr std::string_view kSection = ".bss.";
  const btf *types = bpf_object__btf(object);
  const btf_type *section = types ? btf__type_by_id(types, bpf_map__btf_value_type_id(map)) : nullptr;
  const std::string_view name = section ? btf__name_by_offset(types, section->name_off) : "";
  return name.starts_with(kSection) ? std::string(name.substr(kSection.size())) : "";
}

std::string map_pin(const std::string &pin_directory, const std::string &map) { return pin_directory + "/" + map; }
std::string program_pin(const std::string &pin_directory, const std::string &program) {
  return pin_directory + "/programs/" + program;
}
std::string link_pin(const std::string &pin_directory, const std::string &link) {
  return pin_directory + "/links/" + link;
}

}  // namespace catsbpf::maps
