// SPDX-License-Identifier: Apache-2.0
// The classification table (R109): which packets belong to which service.
#include "cli/format.h"
#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

std::string render(const v1::ServiceStatusList &list, const Layout &layout) {
  Table table({{"SERVICE", Align::left, Shorten::end},
               {"CS-ID", Align::right},
               {"NAME", Align::left, Shorten::end},
               {"LOCATOR", Align::left, Shorten::middle, 20},
               {"ELIGIBLE", Align::right},
               {"GAS", Align::right},
               {"RING", Align::right},
               {"POLICY", Align::left, Shorten::end},
               {"TIMEOUT", Align::right}});
  for (const auto &service : list.services()) {
    table.row({or_dash(service.service_id()), std::to_string(service.cs_id()), or_dash(service.service_name()),
               service.locators_size() > 0 ? service.locators(0) : "-",
               slots(service.eligible()) + "/" + std::to_string(service.instances()), slots(service.free_gas()),
               std::to_string(service.ring_slots()),
               service.ring_policy().empty() ? "-" : service.ring_policy() + ", " + service.request_policy(),
               std::to_string(service.timeout_s()) + "s"});
    for (int i = 1; i < service.locators_size(); ++i) table.row({"", "", "", service.locators(i)});
  }
  return table.render(layout);
}

Result<Exit> services(Context &context, const Arguments &) {
  return show_or_read<v1::ServiceStatusList>(context, "/v1/services", read_services);
}

ServiceNames service_names(Context &context) {
  ServiceNames names;
  if (const auto list = ask<v1::ServiceStatusList>(context, {.path = "/v1/services"}))
    for (const auto &service : list->services()) names[service.cs_id()] = service.service_id();
  return names;
}

Result<uint32_t> cs_id_of(const std::string &service, const ServiceNames &names) {
  for (const auto &[cs_id, service_id] : names)
    if (service_id == service) return cs_id;
  if (const auto number = parse_number("service", service)) return static_cast<uint32_t>(*number);
  return Error{
      "service '" + service + "' is not known",
      names.empty() ? "the agent is down, only the CS-ID is known: give the number" : "catsbpf services lists them"};
}

}  // namespace catsbpf::cli
