// SPDX-License-Identifier: Apache-2.0
// Decoders of what the agent writes: control, interfaces, the view in force, instances, paths, deliveries.
#include "cli/decoders.h"
#include "cli/from_maps.h"

namespace catsbpf::cli::decoders {

std::string hex(const void *bytes, std::size_t count) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    const auto byte = static_cast<const unsigned char *>(bytes)[i];
    text += {kHex[byte >> 4], kHex[byte & 15]};
  }
  return text;
}

Result<> control(const Tables &tables, Rows &rows) {
  const auto &control = tables.control();
  rows.add({uint64_t{control.layout}, uint64_t{control.view}, uint64_t{control.bypass}, uint64_t{control.hz},
            control.heartbeat, maps::format_address(control.icmp_source4), maps::format_address(control.icmp_source6)});
  return done();
}

Result<> interfaces(const Tables &tables, Rows &rows) {
  add_rows(rows, tables.interfaces(), [](std::size_t i, const maps::interface &entry) -> Cells {
    if (entry.ifindex == 0) return {};
    return {uint64_t{i}, uint64_t{entry.ifindex}, interface_name(entry.ifindex), uint64_t{entry.sides}};
  });
  return done();
}

Result<> own_addresses(const Tables &tables, Rows &rows) {
  const auto own = tables.own_addresses();
  if (!own) return own.error();
  for (const maps::address &address : *own) rows.add({maps::format_address(address)});
  return done();
}

Result<> view_headers(const Tables &tables, Rows &rows) {
  const auto &header = tables.view_header();
  rows.add({uint64_t{tables.control().view & 1}, header.epoch, header.published_ns, hex_word(header.locator_seed),
            uint64_t{header.lengths4}, uint64_t{header.lengths6}});
  return done();
}

Result<> locators(const Tables &tables, Rows &rows) {
  add_rows(rows, tables.locators(), [](std::size_t i, const maps::locator &entry) -> Cells {
    static constexpr const char *kKinds[] = {"free", "service", "tunnel", "forwarder"};
    if (entry.kind == maps::LOCATOR_FREE) return {};
    return {uint64_t{i},
            format_prefix(entry.prefix, entry.length),
            entry.kind < std::size(kKinds) ? kKinds[entry.kind] : "?",
            uint64_t{entry.protocol},
            uint64_t{entry.port_min},
            uint64_t{entry.port_max},
            uint64_t{entry.target},
            uint64_t{entry.next}};
  });
  return done();
}

Result<> services(const Tables &tables, Rows &rows) {
  add_rows(rows, tables.services(), [](std::size_t i, const maps::service_record &entry) -> Cells {
    if (entry.cs_id == 0) return {};
    return {uint64_t{i},
            uint64_t{entry.cs_id},
            uint64_t{entry.ring_first},
            uint64_t{entry.ring_slots},
            uint64_t{entry.timeout},
            hex(&entry.source_mask, sizeof entry.source_mask),
            hex(&entry.source_port_mask, 2),
            hex(&entry.destination_port_mask, 2),
            hex(&entry.protocol_mask, 1),
            uint64_t{entry.destination}};
  });
  return done();
}

// Lines of the rings in force: the pool also holds old ones.
Result<> rings(const Tables &tables, Rows &rows) {
  const auto lines = tables.rings();
  for (const auto &service : tables.services()) {
    if (service.cs_id == 0) continue;
    for (std::size_t i = 0; i < service.ring_slots; i += RING_LINE_SLOTS) {
      const std::size_t line = service.ring_first + i / RING_LINE_SLOTS;
      if (line >= lines.size())
        return Error{"ring of CS-ID " + std::to_string(service.cs_id) + " is not within the pool"};
      std::string slots;
      for (std::size_t k = 0; k < RING_LINE_SLOTS && i + k < service.ring_slots; ++k)
        slots += (k == 0 ? "" : " ") + std::to_string(lines[line].slot[k]);
      rows.add({uint64_t{line}, uint64_t{service.cs_id}, slots});
    }
  }
  return done();
}

Result<> instances(const Tables &tables, Rows &rows) {
  add_rows(rows, tables.instances(), [](std::size_t i, const maps::instance &entry) -> Cells {
    static constexpr const char *kStates[] = {"free", "active", "draining", "dead", "retired"};
    if (entry.state == maps::INSTANCE_FREE) return {};
    return {
        uint64_t{i},          uint64_t{entry.cs_id},   uint64_t{entry.csci_id},
        uint64_t{entry.path}, uint64_t{entry.service}, entry.state < std::size(kStates) ? kStates[entry.state] : "?"};
  });
  return done();
}

Result<> paths(const Tables &tables, Rows &rows) {
  add_rows(rows, tables.paths(), [](std::size_t i, const maps::path &entry) -> Cells {
    static constexpr const char *kStates[] = {"free", "resolved", "unresolved", "dead"};
    if (entry.state == maps::PATH_FREE) return {};
    return {uint64_t{i},
            maps::format_address(entry.egress),
            entry.state < std::size(kStates) ? kStates[entry.state] : "?",
            interface_name(entry.ifindex),
            uint64_t{entry.mtu},
            hex(entry.header, GENEVE_HEADROOM)};
  });
  return done();
}

Result<> deliveries(const Tables &tables, Rows &rows) {
  add_rows(rows, tables.deliveries(), [](std::size_t i, const maps::delivery &entry) -> Cells {
    if (entry.state == maps::DELIVERY_FREE) return {};
    return {uint64_t{i},
            uint64_t{entry.cs_id},
            uint64_t{entry.csci_id},
            maps::format_address(entry.contact),
            maps::format_address(entry.contact6),
            interface_name(entry.ifindex),
            entry.state == maps::DELIVERY_RESOLVED ? "resolved" : "unresolved",
            hex(entry.ethernet, sizeof entry.ethernet)};
  });
  return done();
}

}  // namespace catsbpf::cli::decoders
