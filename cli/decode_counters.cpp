// SPDX-License-Identifier: Apache-2.0
// Decoders of what the data plane writes: flows, sessions, counters.
#include <arpa/inet.h>

#include <array>
#include <cstdio>

#include "cli/decoders.h"
#include "cli/format.h"

namespace catsbpf::cli::decoders {

std::string hex_word(uint64_t word) {
  std::array<char, 24> text;
  std::snprintf(text.data(), text.size(), "0x%016llx", static_cast<unsigned long long>(word));
  return text.data();
}

Result<> sessions(const Tables &tables, Rows &rows) {
  const auto sessions = tables.sessions();
  if (!sessions) return sessions.error();
  for (const auto &[key, session] : *sessions)
    rows.add({maps::format_address(key.client), uint64_t{key.cs_id}, uint64_t{session.slot}, session.reservation,
              session.expires});
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
    return {uint64_t{i},
            endpoint(maps::format_address(entry.source), ntohs(entry.source_port)),
            endpoint(maps::format_address(entry.destination), ntohs(entry.destination_port)),
            uint64_t{entry.protocol},
            hex_word(entry.word),
            entry.packets,
            uint64_t{entry.created},
            uint64_t{entry.timeout},
            uint64_t{entry.service}};
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
  rows.add({counters->inserted, counters->expired, counters->displaced, counters->moved, counters->refused,
            counters->raced});
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

Result<> icmp_budget(const Tables &tables, Rows &rows) {
  const auto budgets = tables.icmp_budgets();
  if (!budgets) return budgets.error();
  for (std::size_t cpu = 0; cpu < budgets->size(); ++cpu) rows.add({uint64_t{cpu}, (*budgets)[cpu].spent});
  return done();
}

}  // namespace catsbpf::cli::decoders
