// SPDX-License-Identifier: Apache-2.0
// Drains of the operator: an instance, a site or an egress takes no new flow and keeps those it has.
#include <charconv>
#include <functional>

#include "agent/selector/path_selector.h"
#include "agent/selector/state_file.h"
#include "cmas/proto/json.h"
#include "util/log.h"

namespace catsbpf::agent {

namespace {

Error invalid(const std::string &what, const std::string &hint) { return Error{"drain: " + what, hint, EINVAL}; }

std::string describe(const v1::Drain &drain) {
  if (drain.csci_id())
    return "csci " + std::to_string(drain.csci_id()) + (drain.service_id().empty() ? "" : " of " + drain.service_id());
  return drain.site().empty() ? "egress " + drain.egress() : "site " + drain.site();
}

bool is_one(const v1::Drain &drain) {
  return (drain.csci_id() != 0) + !drain.site().empty() + !drain.egress().empty() == 1;
}

// The CS-ID that save_drains() wrote.
std::optional<uint32_t> kept_cs_id(const std::string &text) {
  uint32_t cs_id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), cs_id);
  if (error != std::errc{} || end != text.data() + text.size() || cs_id == 0) return std::nullopt;
  return cs_id;
}

}  // namespace

void PathSelector::load() {
  desk_.load();
  if (options_.state_directory.empty()) return;
  const std::string path = file("drains.json"), lost = "all drains have ended";
  const auto text = read_whole(path);
  if (!text) return set_aside(path, text.error().what, lost);
  if (!*text) return;
  v1::DrainList kept;
  if (auto parsed = from_json(**text, kept); !parsed) return set_aside(path, parsed.error().what, lost);
  for (const auto &drain : kept.drains()) {
    const auto cs_id = kept_cs_id(drain.service_id());
    if (!is_one(drain) || (drain.csci_id() && !cs_id)) {
      log::warn("{}: skipped a drain that makes no sense: {}", path, to_json(drain));
      continue;
    }
    if (drain.csci_id()) table_.drain({*cs_id, drain.csci_id()}, true);
    if (!drain.site().empty()) table_.drain_site(drain.site(), true);
    if (!drain.egress().empty()) table_.drain_egress(drain.egress(), true);
    log::info("draining as before the restart: {}", describe(drain));
  }
}

// Kept with the CS-ID as service, because the catalogue may not be known when they are read.
Result<> PathSelector::save_drains() const {
  if (options_.state_directory.empty()) return done();
  v1::DrainList kept;
  for (const auto &key : table_.drained()) {
    auto &drain = *kept.add_drains();
    drain.set_csci_id(key.csci_id);
    drain.set_service_id(std::to_string(key.cs_id));
  }
  for (const auto &site : table_.drained_sites()) kept.add_drains()->set_site(site);
  for (const auto &egress : table_.drained_egresses()) kept.add_drains()->set_egress(egress);
  return write_whole(file("drains.json"), to_json(kept));
}

Result<cmas::RowKey> PathSelector::row_to_drain(const v1::Drain &drain) const {
  std::optional<uint32_t> cs_id;
  if (!drain.service_id().empty()) {
    const auto *service = table_.service(drain.service_id());
    if (!service) return Error{"drain: unknown service '" + drain.service_id() + "'", "see catsbpf services", ENOENT};
    cs_id = service->cs_id();
  }
  std::set<cmas::RowKey> known = table_.drained();
  for (const auto &candidate : table_.all()) known.insert(candidate.key);
  std::vector<cmas::RowKey> found;
  for (const auto &key : known)
    if (key.csci_id == drain.csci_id() && (!cs_id || *cs_id == key.cs_id)) found.push_back(key);
  if (found.empty()) return Error{"drain: no instance " + describe(drain), "see catsbpf instances", ENOENT};
  if (found.size() > 1)
    return invalid("csci " + std::to_string(drain.csci_id()) + " serves " + std::to_string(found.size()) + " services",
                   "name one as service_id");
  return found.front();
}

Result<> PathSelector::drain(const v1::Drain &drain, bool on) {
  if (!is_one(drain))
    return invalid("exactly one of csci_id, site and egress is needed",
                   "{\"csci_id\": 3}, {\"site\": \"site-2\"} or {\"egress\": \"f2\"}");
  std::function<cmas::WholeTable::Services(bool)> set;
  bool was = false;
  if (drain.csci_id()) {
    const auto key = row_to_drain(drain);
    if (!key) return key.error();
    was = table_.drained().contains(*key);
    set = [this, key = *key](bool drains) { return table_.drain(key, drains); };
  } else if (!drain.site().empty()) {
    was = table_.draining_site(drain.site());
    if (!options_.sites.contains(drain.site()) && !was)
      return Error{"drain: no site '" + drain.site() + "'", "sites are those of path_selector.agents", ENOENT};
    set = [&](bool drains) { return table_.drain_site(drain.site(), drains); };
  } else {
    was = table_.draining_egress(drain.egress());
    if (!options_.forwarders.contains(drain.egress()) && !was)
      return Error{"drain: no egress '" + drain.egress() + "'", "egresses are among forwarders", ENOENT};
    set = [&](bool drains) { return table_.drain_egress(drain.egress(), drains); };
  }
  if (was == on) return done();
  const auto services = set(on);
  if (auto saved = save_drains(); !saved) {  // rings are as they were: nobody has been told of `services`
    set(was);
    return Error{"the drain " + std::string(on ? "is not in force" : "goes on") + ": " + saved.error().what,
                 saved.error().hint, EAGAIN};
  }
  touch(services);
  log::info("drain {}: {}", on ? "begins" : "ends", describe(drain));
  return done();
}

v1::DrainList PathSelector::drains() const {
  v1::DrainList list;
  for (const auto &key : table_.drained()) {
    auto &drain = *list.add_drains();
    drain.set_csci_id(key.csci_id);
    const auto *service = table_.service(key.cs_id);
    drain.set_service_id(service ? service->service_id() : std::to_string(key.cs_id));
  }
  for (const auto &site : table_.drained_sites()) list.add_drains()->set_site(site);
  for (const auto &egress : table_.drained_egresses()) list.add_drains()->set_egress(egress);
  return list;
}

}  // namespace catsbpf::agent
