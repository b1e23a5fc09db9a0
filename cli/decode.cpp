// SPDX-License-Identifier: Apache-2.0
#include "cli/decode.h"

#include <arpa/inet.h>

#include <array>
#include <cstdio>

#include "cli/format.h"
#include "cli/from_maps.h"

namespace catsbpf::cli {

namespace {

using maps::Tables;

std::string hex(const void *bytes, std::size_t count) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    const auto byte = static_cast<const unsigned char *>(bytes)[i];
    text += {kHex[byte >> 4], kHex[byte & 15]};
  }
  return text;
}

std::string hex_word(uint64_t word) {
  std::array<char, 24> text;
  std::snprintf(text.data(), text.size(), "0x%016llx", static_cast<unsigned long long>(word));
  return text.data();
}

// Collects the rows of one map up to the limit and counts the others.
struct Rows {
  Grid grid;
  std::size_t limit;
  void add(std::vector<Cell> row) {
    ++grid.total;
    if (limit == 0 || grid.rows.size() < limit) grid.rows.push_back(std::move(row));
  }
};

// The rows of a table of structs; `row` decides what is in use and returns its cells, or nothing.
template <class T, class Row>
void add_rows(Rows &rows, std::span<const T> entries, Row &&row) {
  for (std::size_t i = 0; i < entries.size(); ++i)
    if (auto cells = row(i, entries[i]); !cells.empty()) rows.add(std::move(cells));
}

using Cells = std::vector<Cell>;
using Decoder = Result<> (*)(const Tables &, Rows &);

Result<> control(const Tables &tables, Rows &rows) {
  const auto &control = tables.control();
  rows.add({uint64_t{control.layout}, uint64_t{control.view}, uint64_t{control.bypass}, uint64_t{control.hz}, control.heartbeat,
            maps::format_address(control.icmp_source4), maps::format_address(control.icmp_source6)});
  return done();
}

Result<> interfaces(const Tables &tables, Rows &rows) {
  add_rows(rows, tables.interfaces(), [](std::size_t i, const maps::interface &entry) -> Cells {
    if (entry.ifindex == 0) return {};
    return {uint64_t{i}, uint64_t{entry.ifindex}, interface_name(entry.ifindex), uint64_t{entry.sides}};
  });
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
    return {uint64_t{i}, format_prefix(entry.prefix, entry.length), entry.kind < std::size(kKinds) ? kKinds[entry.kind] : "?",
            uint64_t{entry.protocol}, uint64_t{entry.port_min}, uint64_t{entry.port_max}, uint64_t{entry.target},
            uint64_t{entry.next}};
  });
  return done();
}

Result<> services(const Tables &tables, Rows &rows) {
  add_rows(rows, tables.services(), [](std::size_t i, const maps::service_record &entry) -> Cells {
    if (entry.cs_id == 0) return {};
    return {uint64_t{i}, uint64_t{entry.cs_id}, uint64_t{entry.ring_first}, uint64_t{entry.ring_slots}, uint64_t{entry.timeout},
            hex(&entry.source_mask, sizeof entry.source_mask), hex(&entry.source_port_mask, 2),
            hex(&entry.destination_port_mask, 2), hex(&entry.protocol_mask, 1), uint64_t{entry.destination}};
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
      if (line >= lines.size()) return Error{"ring of CS-ID " + std::to_string(service.cs_id) + " is not within the pool"};
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
    return {uint64_t{i}, uint64_t{entry.cs_id}, uint64_t{entry.csci_id}, uint64_t{entry.path}, uint64_t{entry.service},
            entry.state < std::size(kStates) ? kStates[entry.state] : "?"};
  });
  return done();
}

Result<> paths(const Tables &tables, Rows &rows) {
  add_rows(rows, tables.paths(), [](std::size_t i, const maps::path &entry) -> Cells {
    static constexpr const char *kStates[] = {"free", "resolved", "unresolved", "dead"};
    if (entry.state == maps::PATH_FREE) return {};
    return {uint64_t{i}, maps::format_address(entry.egress), entry.state < std::size(kStates) ? kStates[entry.state] : "?",
            interface_name(entry.ifindex), uint64_t{entry.mtu}, hex(entry.header, GENEVE_HEADROOM)};
  });
  return done();
}

Result<> deliveries(const Tables &tables, Rows &rows) {
  add_rows(rows, tables.deliveries(), [](std::size_t i, const maps::delivery &entry) -> Cells {
    if (entry.state == maps::DELIVERY_FREE) return {};
    return {uint64_t{i}, uint64_t{entry.cs_id}, uint64_t{entry.csci_id}, maps::format_address(entry.contact),
            maps::format_address(entry.contact6), interface_name(entry.ifindex),
            entry.state == maps::DELIVERY_RESOLVED ? "resolved" : "unresolved", hex(entry.ethernet, sizeof entry.ethernet)};
  });
  return done();
}

Result<> sessions(const Tables &tables, Rows &rows) {
  const auto sessions = tables.sessions();
  if (!sessions) return sessions.error();
  for (const auto &[key, session] : *sessions)
    rows.add({maps::format_address(key.client), uint64_t{key.cs_id}, uint64_t{session.slot}, session.reservation, session.expires});
  return done();
}

Result<> flows(const Tables &tables, Rows &rows) {
  const auto lines = tables.flows();
  for (std::size_t line = 0; line < lines.size(); ++line)
    for (std::size_t i = 0; i < FLOW_LINE_ENTRIES; ++i) {
      const auto &entry = lines[line].entry[i];
      if (entry.word == 0) continue;
      rows.add({uint64_t{line}, uint64_t{i}, hex_word(entry.word >> FLOW_TAG_SHIFT),
                entry.word >> FLOW_GENERATION_SHIFT & FLOW_GENERATION_MASK, entry.word >> FLOW_STATE_SHIFT & 0xf,
                entry.word & FLOW_SLOT_MASK, entry.seen >> 32, entry.seen & UINT32_MAX});
    }
  return done();
}

Result<> flow_records(const Tables &tables, Rows &rows) {
  add_rows(rows, tables.flow_records(), [](std::size_t i, const maps::flow_record &entry) -> Cells {
    if (entry.word == 0) return {};
    return {uint64_t{i}, endpoint(maps::format_address(entry.source), ntohs(entry.source_port)),
            endpoint(maps::format_address(entry.destination), ntohs(entry.destination_port)), uint64_t{entry.protocol},
            hex_word(entry.word), entry.packets, uint64_t{entry.created}, uint64_t{entry.timeout}, uint64_t{entry.service}};
  });
  return done();
}

Result<> sweep(const Tables &tables, Rows &rows) {
  const auto sweep = tables.sweep();
  if (!sweep) return sweep.error();
  rows.add({uint64_t{sweep->cursor}, uint64_t{sweep->lines}, sweep->ticks, sweep->passes});
  return done();
}

Result<> outcomes(const Tables &tables, Rows &rows) {
  const auto counters = tables.outcomes();
  if (!counters) return counters.error();
  const auto known = maps::outcome_list();
  for (std::size_t i = 0; i < counters->size(); ++i)
    rows.add({uint64_t{i}, i < known.size() ? known[i].name : "?", (*counters)[i].packets, (*counters)[i].bytes});
  return done();
}

Result<> flow_counters(const Tables &tables, Rows &rows) {
  const auto counters = tables.flow_counters();
  if (!counters) return counters.error();
  rows.add({counters->inserted, counters->expired, counters->displaced, counters->moved, counters->refused, counters->raced});
  return done();
}

Result<> instance_counters(const Tables &tables, Rows &rows) {
  for (uint32_t slot = 0; slot < tables.instances().size(); ++slot) {
    if (slot != SLOT_PLAIN && tables.instances()[slot].state == maps::INSTANCE_FREE) continue;
    const auto counter = tables.instance_counter(slot);
    if (!counter) return counter.error();
    rows.add({uint64_t{slot}, counter->packets, counter->bytes});
  }
  return done();
}

Result<> delivery_counters(const Tables &tables, Rows &rows) {
  for (uint32_t i = 0; i < tables.deliveries().size(); ++i) {
    if (tables.deliveries()[i].state == maps::DELIVERY_FREE) continue;
    const auto counter = tables.delivery_counter(i);
    if (!counter) return counter.error();
    rows.add({uint64_t{i}, counter->packets, counter->bytes});
  }
  return done();
}

struct Known {
  const char *name;
  Decoder decode;
  std::vector<GridColumn> columns;
};

const std::vector<Known> &known_maps() {
  constexpr auto kMiddle = Shorten::middle, kEnd = Shorten::end;
  static const std::vector<Known> known = {
      {"control", control, {{"layout"}, {"view"}, {"bypass"}, {"hz"}, {"heartbeat"}, {"icmp_source4", kMiddle}, {"icmp_source6", kMiddle}}},
      {"interfaces", interfaces, {{"index"}, {"ifindex"}, {"name"}, {"sides"}}},
      {"view_headers", view_headers, {{"side"}, {"epoch"}, {"published_ns"}, {"locator_seed"}, {"lengths4"}, {"lengths6"}}},
      {"locators", locators, {{"index"}, {"prefix", kMiddle}, {"kind"}, {"protocol"}, {"port_min"}, {"port_max"}, {"target"}, {"next"}}},
      {"services", services,
       {{"index"}, {"cs_id"}, {"ring_first"}, {"ring_slots"}, {"timeout"}, {"source_mask", kEnd}, {"sport"}, {"dport"}, {"proto"}, {"dst"}}},
      {"rings", rings, {{"line"}, {"cs_id"}, {"slots", kEnd}}},
      {"instances", instances, {{"slot"}, {"cs_id"}, {"csci_id"}, {"path"}, {"service"}, {"state"}}},
      {"paths", paths, {{"path"}, {"egress", kMiddle}, {"state"}, {"interface"}, {"mtu"}, {"header", kEnd}}},
      {"deliveries", deliveries,
       {{"index"}, {"cs_id"}, {"csci_id"}, {"contact", kMiddle}, {"contact6", kMiddle}, {"interface"}, {"state"}, {"ethernet", kEnd}}},
      {"sessions", sessions, {{"client", kMiddle}, {"cs_id"}, {"slot"}, {"reservation"}, {"expires"}}},
      {"flows", flows, {{"line"}, {"entry"}, {"tag"}, {"generation"}, {"state"}, {"slot"}, {"seen"}, {"packets"}}},
      {"flow_records", flow_records,
       {{"index"}, {"source", kMiddle}, {"destination", kMiddle}, {"protocol"}, {"word", kEnd}, {"packets"}, {"created"}, {"timeout"}, {"service"}}},
      {"sweep", sweep, {{"cursor"}, {"lines"}, {"ticks"}, {"passes"}}},
      {"outcomes", outcomes, {{"index"}, {"outcome"}, {"packets"}, {"bytes"}}},
      {"flow_counters", flow_counters, {{"inserted"}, {"expired"}, {"displaced"}, {"moved"}, {"refused"}, {"raced"}}},
      {"instance_counters", instance_counters, {{"slot"}, {"packets"}, {"bytes"}}},
      {"delivery_counters", delivery_counters, {{"index"}, {"packets"}, {"bytes"}}},
  };
  return known;
}

}  // namespace

Grid decode_maps(const std::vector<maps::Tables::MapInfo> &maps) {
  Grid grid{"maps", {{"map"}, {"type"}, {"key_bytes"}, {"value_bytes"}, {"entries"}, {"memory_bytes"}}};
  for (const auto &map : maps)
    grid.rows.push_back({map.name, map.type, uint64_t{map.key_bytes}, uint64_t{map.value_bytes}, uint64_t{map.entries}, map.memory_bytes});
  grid.total = grid.rows.size();
  return grid;
}

Result<Grid> decode_map(const Tables &tables, const std::string &name, std::size_t limit) {
  if (name == "secret") return Error{"map secret is not shown", "whoever knows it can aim packets at one flow table line"};
  std::string names;
  for (const auto &known : known_maps()) {
    names += (names.empty() ? "" : " ") + std::string(known.name);
    if (name != known.name) continue;
    Rows rows{{known.name, known.columns}, limit};
    if (const auto decoded = known.decode(tables, rows); !decoded) return decoded.error();
    return rows.grid;
  }
  return Error{"no map '" + name + "'", "there are " + names};
}

}  // namespace catsbpf::cli
