// SPDX-License-Identifier: Apache-2.0
// Owning handles of BPF maps: what every other file uses to touch one. In: a pin path or a shape.
// Out: file descriptors and memory-mapped arrays that close themselves. Move-only, no half-built objects.
#pragma once

#include <linux/bpf.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "util/fd.h"
#include "util/result.h"

struct bpf_map;
struct bpf_object;

namespace catsbpf::maps {

// Names of the pins below a pin directory: DIR/MAP, DIR/programs/PROGRAM, DIR/links/LINK.
std::string map_pin(const std::string &pin_directory, const std::string &map);
std::string program_pin(const std::string &pin_directory, const std::string &program);
std::string link_pin(const std::string &pin_directory, const std::string &link);

// What the kernel says of a map.
struct MapShape {
  uint32_t type = 0;
  uint32_t key_bytes = 0;
  uint32_t value_bytes = 0;
  uint32_t entries = 0;
  uint32_t flags = 0;
  bool operator==(const MapShape &) const = default;
};
// "array, key 4, value 64, 8192 entries".
std::string describe(const MapShape &shape);
// With ", flags 0x400" where those of `other` differ.
std::string describe(const MapShape &shape, const MapShape &other);
// "array", "percpu_array", "hash", ... ; "type 99" for one that has no name here.
std::string map_type_name(uint32_t type);

enum class Access { kReadOnly, kReadWrite };

// A map of the kernel, by its pin.
class Map {
 public:
  // Fails (system state unchanged) when nothing is pinned at `path` (code ENOENT), it is no map, or for
  // lack of privilege (code EPERM or EACCES, hint: sudo).
  static Result<Map> open_pinned(const std::string &path, Access access);

  const std::string &name() const { return name_; }
  const MapShape &shape() const { return shape_; }
  int fd() const { return fd_.get(); }
  // What the kernel charges for it; 0 when unknown.
  uint64_t memory_bytes() const;

  // One element by its key. code ENOENT: no such key.
  Result<> read(const void *key, void *value) const;
  Result<> write(const void *key, const void *value) const;
  Result<> erase(const void *key) const;
  // All keys of a hash, as bytes one after another.
  Result<std::vector<char>> keys() const;

 private:
  Map(Fd fd, std::string name, MapShape shape) : fd_(std::move(fd)), name_(std::move(name)), shape_(shape) {}
  Fd fd_;
  std::string name_;  // last part of the pin path
  MapShape shape_;
};

// A memory mapping of a whole array map.
class Mapping {
 public:
  Mapping() = default;
  static Result<Mapping> map(const Map &map, Access access);
  Mapping(Mapping &&other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Mapping &operator=(Mapping &&other) noexcept;
  Mapping(const Mapping &) = delete;
  Mapping &operator=(const Mapping &) = delete;
  ~Mapping();
  void *memory() const { return memory_; }

 private:
  void *memory_ = nullptr;
  size_t bytes_ = 0;
};

// The way out where pins are of another layout, or of another build that calls its layout the same.
inline constexpr const char *kOtherPinsHint =
    "the pins and the traffic are untouched; use the catsbpfd and catsbpf that made them, or give them up (and all "
    "flows) with `catsbpfd --uninstall`";
Error misshaped(const Map &map, size_t element_bytes);

// An array map as memory. `T` as in contract.h; `const T` maps it read-only.
template <class T>
class Array {
  // The kernel pads each element to 8 bytes; our values have no padding of that kind.
  static_assert(sizeof(T) % 8 == 0 || sizeof(T) == 4, "element stride");

 public:
  Array() = default;
  // A table of the programs is one value (bpf/tables.h), of many `T`.
  static Result<Array> map(const Map &map) {
    if (map.shape().value_bytes % sizeof(T) != 0 || (map.shape().value_bytes != sizeof(T) && map.shape().entries != 1))
      return misshaped(map, sizeof(T));
    auto mapping = Mapping::map(map, std::is_const_v<T> ? Access::kReadOnly : Access::kReadWrite);
    if (!mapping) return mapping.error();
    Array array;
    array.mapping_ = std::move(*mapping);
    array.entries_ = size_t{map.shape().entries} * (map.shape().value_bytes / sizeof(T));
    return array;
  }
  // The kernel maps shared memory from a writable descriptor only; the mapping of `const T` itself is read-only.
  static Result<Array> open_pinned(const std::string &pin_directory, const std::string &name) {
    auto map = Map::open_pinned(map_pin(pin_directory, name), Access::kReadWrite);
    if (!map) return map.error();
    return Array::map(*map);
  }
  std::span<T> span() const { return {static_cast<T *>(mapping_.memory()), entries_}; }
  T &operator[](size_t index) const { return span()[index]; }

 private:
  Mapping mapping_;
  size_t entries_ = 0;
};

// Opens pinned arrays one after another; the first error ends it.
class ArrayOpener {
 public:
  explicit ArrayOpener(std::string pin_directory) : directory_(std::move(pin_directory)) {}
  template <class T>
  ArrayOpener &into(Array<T> &array, const char *name) {
    if (!result_) return *this;
    auto opened = Array<T>::open_pinned(directory_, name);
    if (opened)
      array = std::move(*opened);
    else
      result_ = opened.error();
    return *this;
  }
  Result<> result() const { return result_; }

 private:
  std::string directory_;
  Result<> result_ = done();
};

// A hash map with typed keys and values.
template <class K, class V>
class Hash {
 public:
  // The map must outlive the Hash.
  explicit Hash(const Map &map) : map_(&map) {}
  Result<> put(const K &key, const V &value) const { return map_->write(&key, &value); }
  Result<> erase(const K &key) const { return map_->erase(&key); }
  Result<std::vector<std::pair<K, V>>> all() const {
    auto keys = map_->keys();
    if (!keys) return keys.error();
    std::vector<std::pair<K, V>> entries;
    for (size_t at = 0; at + sizeof(K) <= keys->size(); at += sizeof(K)) {
      std::pair<K, V> entry;
      std::memcpy(&entry.first, keys->data() + at, sizeof(K));
      if (map_->read(&entry.first, &entry.second).ok()) entries.push_back(entry);  // else gone meanwhile
    }
    return entries;
  }

 private:
  const Map *map_;
};

// The values of all possible CPUs of one element of a per-CPU array of `T`, which is made of uint64_t only.
int possible_cpus();
template <class T>
Result<std::vector<T>> values_by_cpu(const Map &map, uint32_t index) {
  static_assert(sizeof(T) % 8 == 0);
  std::vector<T> values(possible_cpus());
  if (auto read = map.read(&index, values.data()); !read) return read.error();
  return values;
}
template <class T>
Result<T> sum_over_cpus(const Map &map, uint32_t index) {
  const auto values = values_by_cpu<T>(map, index);
  if (!values) return values.error();
  std::array<uint64_t, sizeof(T) / 8> sum{}, words;
  for (const T &value : *values) {
    std::memcpy(words.data(), &value, sizeof value);
    for (size_t i = 0; i < words.size(); ++i) sum[i] += words[i];
  }
  T total;
  std::memcpy(&total, sum.data(), sizeof total);
  return total;
}
template <class T>
Result<> clear_on_all_cpus(const Map &map, uint32_t index) {
  const std::vector<T> zeros(possible_cpus());
  return map.write(&index, zeros.data());
}

// The name that a map of the programs is pinned by: its own, or its section's without ".bss.". Empty for those that
// belong to one load of the programs (.rodata).
std::string table_name(const bpf_object *object, const bpf_map *map);

// A kernel's jiffies at CLOCK_MONOTONIC `now_ns`: it starts at 2^32 - 300 s (INITIAL_JIFFIES).
inline uint64_t estimate_jiffies(uint64_t now_ns, uint32_t hz) {
  return (1ULL << 32) - 300ULL * hz + static_cast<uint64_t>(static_cast<__uint128_t>(now_ns) * hz / 1'000'000'000);
}

}  // namespace catsbpf::maps
