// SPDX-License-Identifier: Apache-2.0
// The pin directory: its lock, its pins by name, and the check of what is pinned there already. Nothing
// here touches traffic.
#pragma once

#include <bpf/libbpf.h>

#include <chrono>
#include <string>
#include <vector>

#include "maps/map.h"
#include "util/fd.h"
#include "util/result.h"

namespace catsbpf::agent {

// What stands in a pin directory beside the maps.
inline constexpr const char *kPrograms = "/programs", *kLinks = "/links", *kQdiscs = "/qdiscs";

// Makes the directory with all parts, on a bpffs. Fails when it is not on one.
Result<> make_pin_directory(const std::string &path);

// Takes the lock of an existing pin directory until the Fd closes. Blocks for at most `patience` while another
// agent has it: one that was killed has it until the kernel has torn down its last thread. Then fails, naming the
// other's pid. The lock is on the directory itself: it needs no file, no permission and no cleaning up.
Result<Fd> lock_pin_directory(const std::string &path, std::chrono::milliseconds patience);

// For a pin directory in use: makes what is missing of it. When another directory is in its place, or none, the
// lock on the new one takes the place of `lock`. Fails, with `lock` as it was, when another agent has that.
Result<> keep_pin_directory(const std::string &path, Fd &lock);

// Compares what is pinned with what `object` declares: layout first, then each map. Maps that the agent sizes
// (flows, flow_records, rings) keep their pinned size, which is set in `object`. Pinned maps are handed to
// `object` for reuse; a warning says what is lost with each pin that somebody removed. On failure nothing pinned was
// touched.
Result<> reuse_pinned_maps(bpf_object *object, const std::string &pin_directory);

// Refuses a directory that holds what catsbpf never pins, for it could not be told what to give up with it.
Result<> check_nothing_foreign(const std::string &pin_directory);

// True for a pin directory that was made just now: no map and no link is in it.
bool pins_nothing(const std::string &pin_directory);

// Pins what is not pinned yet.
Result<> pin_new_maps(bpf_object *object, const std::string &pin_directory);

// Puts a pin in place of the one that was there, atomically.
Result<> replace_pin(int fd, const std::string &path);

// Type and id of a map, program or link, which the kernel never gives to another; zeros for anything else.
struct ObjectId {
  uint32_t type = 0, id = 0;
  bool operator==(const ObjectId &) const = default;
};
ObjectId object_id(int fd);
// True when the pin is of this object.
bool is_pinned(int fd, const std::string &path);

// Names of the pins in a directory; none when it does not exist.
std::vector<std::string> list_pins(const std::string &directory);

}  // namespace catsbpf::agent
