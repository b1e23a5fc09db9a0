// SPDX-License-Identifier: Apache-2.0
#include "agent/service_metrics/site_api.h"

#include <boost/asio/ip/address.hpp>

#include <set>

#include "cmas/limits.h"

namespace catsbpf::agent {

namespace {

Error in_place(const std::string &place, const Error &error) { return Error{place + ": " + error.what, error.hint}; }

// What an address is that no host of a network has; "" when one may have it.
std::string no_host(const boost::asio::ip::address &address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped()) return "an IPv4 address written as an IPv6 one";
  if (address.is_unspecified()) return "no address at all";
  if (address.is_loopback()) return "a loopback address";
  if (address.is_multicast()) return "a multicast address";
  if (address == boost::asio::ip::address_v4::broadcast()) return "a broadcast address";
  return "";
}

Result<> check_contact(const std::string &place, const std::string &text, bool only_v6) {
  if (text.empty()) return done();
  boost::system::error_code failed;
  const auto address = boost::asio::ip::make_address(text, failed);
  if (failed || (only_v6 && !address.is_v6()))
    return Error{place + ": '" + text + "' is no " + (only_v6 ? "IPv6 " : "") + "address",
                 "write it without prefix length and port"};
  if (const auto kind = no_host(address); !kind.empty())
    return Error{place + ": " + text + " is " + kind + ", no host of the site's network",
                 "give the instance's own address there"};
  return done();
}

Result<uint32_t> cs_id_of(const std::string &place, const v1::SiteRow &row, const ResolveService &resolve) {
  const auto known = resolve && !row.service_id().empty() ? resolve(row.service_id()) : std::nullopt;
  if (known && row.cs_id() != 0 && row.cs_id() != *known) {
    return Error{place + ".cs_id: " + std::to_string(row.cs_id()) + ", but service '" + row.service_id() + "' has " +
                     std::to_string(*known),
                 "leave one of the two out"};
  }
  if (known) return *known;
  if (row.cs_id() != 0) return row.cs_id();
  if (row.service_id().empty())
    return Error{place + ".service_id: missing", "name the service by service_id, cs_id or both"};
  return Error{place + ".service_id: no service '" + row.service_id() + "' is known here",
               resolve ? "register it at the platform, or give its cs_id too"
                       : "this agent knows no platform: give its cs_id too"};
}

bool serves(const cmas::SiteRow &row, const std::string &service) {
  return row.service_id == service || std::to_string(row.row.key.cs_id) == service;
}

Result<cmas::RowKey> find_row(const v1::SiteDelta &delta, const cmas::SiteTable &table, const KeysByInstance &keys) {
  const auto [first, last] = keys.equal_range(delta.csci_id());
  std::vector<cmas::RowKey> found;
  for (auto at = first; at != last; ++at)
    if (delta.service_id().empty() || serves(table.rows().at(at->second), delta.service_id()))
      found.push_back(at->second);
  if (found.size() == 1) return found.front();
  const std::string instance = "instance " + std::to_string(delta.csci_id());
  if (found.size() > 1)
    return Error{"csci_id: " + instance + " serves " + std::to_string(found.size()) + " services",
                 "name one by service_id"};
  return Error{delta.service_id().empty()
                   ? "csci_id: no row of " + instance
                   : "service_id: no row of " + instance + " for service '" + delta.service_id() + "'",
               "deltas change rows that exist; put the whole table first"};
}

cmas::SiteChange change_of(const v1::SiteDelta &delta) {
  cmas::SiteChange change;
  if (delta.has_gas_change()) change.gas_change = delta.gas_change();
  if (delta.has_gas()) change.gas = delta.gas();
  if (delta.has_cost()) change.cost = delta.cost();
  if (delta.has_draining()) change.draining = delta.draining();
  if (delta.has_access_delay_us()) change.access_delay = cmas::Micros(delta.access_delay_us());
  change.remove = delta.remove();
  return change;
}

// A removal is no change of what the row says.
Result<> check_removal(const v1::SiteDelta &delta) {
  const std::pair<bool, const char *> others[] = {{delta.has_gas_change(), "gas_change"},
                                                  {delta.has_gas(), "gas"},
                                                  {delta.has_cost(), "cost"},
                                                  {delta.has_draining(), "draining"},
                                                  {delta.has_access_delay_us(), "access_delay_us"}};
  std::string given;
  for (const auto &[there, name] : others)
    if (there) given += (given.empty() ? "" : ", ") + std::string(name);
  if (!delta.remove() || given.empty()) return done();
  return Error{"remove: true excludes " + given + ", for the row goes", "leave out one or the other"};
}

}  // namespace

Result<> check_complete(const std::string &body, const v1::SiteTable &table) {
  if (table.rows_size() > 0 || body.find("\"rows\"") != std::string::npos) return done();
  return Error{"rows: is missing", "a table without rows removes all that there are: say so by {\"rows\": []}"};
}

Result<std::vector<cmas::SiteRow>> rows_of(const v1::SiteTable &table, const std::string &site,
                                           const ResolveService &resolve) {
  if (!table.site().empty() && table.site() != site)
    return Error{"site: '" + table.site() + "', this is the agent of site '" + site + "'",
                 "leave it out, or ask the other agent"};
  std::vector<cmas::SiteRow> rows;
  std::set<cmas::RowKey> seen;
  for (int i = 0; i < table.rows_size(); ++i) {
    const auto &in = table.rows(i);
    const std::string place = "rows[" + std::to_string(i) + "]";
    const auto cs_id = cs_id_of(place, in, resolve);
    if (!cs_id.ok()) return cs_id.error();
    cmas::SiteRow row;
    row.row.key = {*cs_id, in.csci_id()};
    row.row.offered = in.gas();
    row.row.cost = in.cost();
    row.row.access_delay = cmas::Micros(in.access_delay_us());
    row.row.draining = in.draining();
    row.row.egresses.assign(in.egresses().begin(), in.egresses().end());
    row.service_id = in.service_id();
    row.contact = in.contact();
    row.contact6 = in.contact6();
    if (in.csci_id() == 0) return Error{place + ".csci_id: missing or 0", "instances are numbered from 1 up"};
    if (auto checked = cmas::check(row.row); !checked.ok()) return in_place(place, checked.error());
    if (auto contact = check_contact(place + ".contact", row.contact, false); !contact.ok()) return contact.error();
    if (auto contact = check_contact(place + ".contact6", row.contact6, true); !contact.ok()) return contact.error();
    if (!seen.insert(row.row.key).second)
      return Error{place + ".csci_id: " + cmas::text(row.row.key) + " is in the table twice",
                   "one row per service and instance"};
    rows.push_back(std::move(row));
  }
  return rows;
}

Result<SiteChanges> changes_of(const v1::SiteDeltas &deltas, const cmas::SiteTable &table, const KeysByInstance &keys) {
  if (deltas.deltas().empty()) return Error{"deltas: empty", "send at least one"};
  SiteChanges changes;
  std::map<cmas::RowKey, cmas::SiteRow> touched;
  for (int i = 0; i < deltas.deltas_size(); ++i) {
    const auto key = find_row(deltas.deltas(i), table, keys);
    if (!key.ok()) return in_place("deltas[" + std::to_string(i) + "]", key.error());
    if (auto checked = check_removal(deltas.deltas(i)); !checked.ok())
      return Error{"deltas[" + std::to_string(i) + "]." + checked.error().what, checked.error().hint};
    changes.emplace_back(*key, change_of(deltas.deltas(i)));
    touched.emplace(*key, table.rows().at(*key));
  }
  cmas::SiteTable trial;
  std::vector<cmas::SiteRow> rows;
  for (auto &[key, row] : touched) rows.push_back(std::move(row));
  if (auto filled = trial.replace(std::move(rows)); !filled.ok()) return filled.error();
  for (std::size_t i = 0; i < changes.size(); ++i)
    if (auto applied = trial.apply(changes[i].first, changes[i].second); !applied.ok())
      return in_place("deltas[" + std::to_string(i) + "]", applied.error());
  return changes;
}

Result<> check_named(const v1::ServiceFinished &finished) {
  if (finished.reservation() != 0 || finished.csci_id() != 0) return done();
  return Error{"reservation, csci_id: both are missing or 0",
               "name the reservation, or the instance, whose oldest reservation then ends"};
}

Result<uint64_t> reservation_of(const v1::ServiceFinished &finished, const cmas::SiteTable &table) {
  if (finished.reservation() != 0) {
    if (table.ledger().contains(finished.reservation())) return finished.reservation();
    return Error{"reservation: " + std::to_string(finished.reservation()) + " is unknown or has ended",
                 "nothing is left to do for it: its slots are free, by the client, by lease or by another heartbeat"};
  }
  const cmas::LedgerEntry *oldest = nullptr;
  for (const auto &[id, entry] : table.ledger()) {
    const bool fits = entry.key.csci_id == finished.csci_id() && (finished.gas() == 0 || entry.gas == finished.gas());
    if (fits && (!oldest || entry.order < oldest->order)) oldest = &entry;
  }
  if (oldest) return oldest->reservation;
  return Error{"csci_id: instance " + std::to_string(finished.csci_id()) + " holds no reservation" +
                   (finished.gas() == 0 ? "" : " of gas " + std::to_string(finished.gas())),
               "nothing is left to do: GET /v1/table shows what is in use"};
}

v1::SiteRow to_api(const cmas::SiteRow &row) {
  v1::SiteRow out;
  out.set_service_id(row.service_id);
  out.set_cs_id(row.row.key.cs_id);
  out.set_csci_id(row.row.key.csci_id);
  out.set_gas(row.row.offered);
  out.set_cost(row.row.cost);
  out.set_contact(row.contact);
  out.set_contact6(row.contact6);
  out.set_access_delay_us(static_cast<uint32_t>(row.row.access_delay.count()));
  out.set_draining(row.row.draining);
  out.set_in_use(row.row.in_use);
  for (const auto &egress : row.row.egresses) out.add_egresses(egress);
  return out;
}

}  // namespace catsbpf::agent
