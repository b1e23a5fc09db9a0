// SPDX-License-Identifier: Apache-2.0
// The end of a data plane, on purpose: what agents made goes, what was there before them stays.
#include "agent/dataplane/uninstall.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/dataplane/attach.h"
#include "agent/dataplane/dataplane.h"
#include "agent/dataplane/features.h"
#include "agent/dataplane/pins.h"
#include "agent/netlink/query.h"
#include "maps/tables.h"

namespace catsbpf::agent {

namespace {

IpAddress next_hop_of(const maps::path &path) {
  if (path.next_hop4 == 0) return parse_ip(maps::format_address(path.egress)).value_or(IpAddress{});
  const auto *bytes = reinterpret_cast<const uint8_t *>(&path.next_hop4);
  return {{bytes, bytes + sizeof path.next_hop4}};
}

// An agent that was killed leaves its next hops managed: the kernel would ask for them for ever. Those on interfaces
// that this data plane does not have may be another agent's, too.
void let_neighbours_go(const std::string &pin_directory) {
  auto netlink = NetlinkQuery::open();
  const auto tables = maps::Tables::open(pin_directory);
  if (!netlink || !tables) return;
  const auto interfaces = (*tables)->interfaces();
  const auto has = [&](uint32_t ifindex) {
    return ifindex != 0 && std::any_of(interfaces.begin(), interfaces.end(),
                                       [&](const maps::interface &interface) { return interface.ifindex == ifindex; });
  };
  for (const maps::path &path : (*tables)->paths())
    if (path.state != maps::PATH_FREE && has(path.ifindex)) netlink->let_go(path.ifindex, next_hop_of(path));
  for (const maps::delivery &delivery : (*tables)->deliveries())
    if (const auto contact = parse_ip(maps::format_address(delivery.contact));
        contact && delivery.state != maps::DELIVERY_FREE && has(delivery.ifindex))
      netlink->let_go(delivery.ifindex, *contact);
}

Result<> remove_directory(const std::string &directory) {
  for (const std::string &name : list_pins(directory)) {
    const std::string path = directory + "/" + name;
    if (unlink(path.c_str()) == 0 || (errno == EISDIR && rmdir(path.c_str()) == 0)) continue;
    return system_error("cannot remove pin " + path, errno);
  }
  if (rmdir(directory.c_str()) == 0 || errno == ENOENT) return done();
  return system_error("cannot remove pin directory " + directory, errno);
}

}  // namespace

Result<> remove_dataplane(const std::string &pin_directory) {
  let_neighbours_go(pin_directory);
  detach_others(pin_directory, {});
  for (const char *part : {kLinks, kPrograms, kQdiscs, ""})
    if (auto removed = remove_directory(pin_directory + part); !removed) return removed;
  return done();
}

Result<bool> uninstall_dataplane(const std::string &pin_directory, std::chrono::milliseconds lock_patience) {
  if (access(pin_directory.c_str(), F_OK) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return false;
    return system_error("cannot inspect pin directory " + pin_directory, errno);
  }
  if (auto own = check_nothing_foreign(pin_directory); !own) return own.error();
  auto lock = lock_pin_directory(pin_directory, lock_patience);
  if (!lock) return lock.error();
  collect_libbpf_messages();
  if (auto removed = remove_dataplane(pin_directory); !removed) return removed.error();
  return true;
}

}  // namespace catsbpf::agent
