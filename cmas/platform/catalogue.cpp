// SPDX-License-Identifier: Apache-2.0
#include "cmas/platform/catalogue.h"

#include "cmas/platform/service_check.h"
#include "cmas/platform/yaml_file.h"

namespace catsbpf::cmas {

namespace {

void check_beside_others(const v1::ServiceCatalogue &catalogue, int i, YamlFile &file) {
  const auto &service = catalogue.services(i);
  const std::string field = "services[" + std::to_string(i) + "]";
  for (int k = 0; k < i; ++k) {
    const auto &other = catalogue.services(k);
    const std::string where =
        other.service_id() + " (line " + std::to_string(file.line_of("services[" + std::to_string(k) + "]")) + ")";
    if (!service.service_id().empty() && service.service_id() == other.service_id())
      file.problem(field + ".service_id", "'" + service.service_id() + "' is there already, see " + where);
    if (service.cs_id() != 0 && service.cs_id() == other.cs_id())
      file.problem(field + ".cs_id", std::to_string(service.cs_id()) + " belongs to service " + where,
                   "each service has a number of its own");
    if (const auto claimed = conflict(service, other))
      file.problem(field + ".locators", *claimed + " is claimed by service " + where,
                   "one address, protocol and port leads to one service");
  }
}

}  // namespace

Result<std::vector<v1::Service>> load_catalogue(const std::string &path) {
  YamlFile file(path);
  v1::ServiceCatalogue catalogue;
  file.read(catalogue);
  for (int i = 0; i < catalogue.services_size(); ++i) {
    for (const auto &problem : check(catalogue.services(i)))
      file.problem("services[" + std::to_string(i) + "]." + problem.field, problem.reason, problem.hint);
    check_beside_others(catalogue, i, file);
  }
  if (!file.ok()) return file.error();
  return std::vector<v1::Service>(catalogue.services().begin(), catalogue.services().end());
}

}  // namespace catsbpf::cmas
