// SPDX-License-Identifier: Apache-2.0
// The verbs and how each value looks as text; a verb's file holds both.
#pragma once

#include "cli/context.h"
#include "cli/from_maps.h"
#include "cmas/platform/yaml_file.h"
#include "cmas/proto/service.pb.h"

namespace catsbpf::cli {

Result<Exit> status(Context &context, const Arguments &arguments);
Result<Exit> services(Context &context, const Arguments &arguments);
Result<Exit> instances(Context &context, const Arguments &arguments);
Result<Exit> paths(Context &context, const Arguments &arguments);
Result<Exit> rings(Context &context, const Arguments &arguments);
Result<Exit> flows(Context &context, const Arguments &arguments);
Result<Exit> sessions(Context &context, const Arguments &arguments);
Result<Exit> stats(Context &context, const Arguments &arguments);
Result<Exit> outcomes(Context &context, const Arguments &arguments);
Result<Exit> explain(Context &context, const Arguments &arguments);
Result<Exit> request(Context &context, const Arguments &arguments);
Result<Exit> finish(Context &context, const Arguments &arguments);
Result<Exit> site(Context &context, const Arguments &arguments);
Result<Exit> platform(Context &context, const Arguments &arguments);
Result<Exit> map(Context &context, const Arguments &arguments);
Result<Exit> drain(Context &context, const Arguments &arguments);
Result<Exit> bypass(Context &context, const Arguments &arguments);
Result<Exit> help(Context &context, const Arguments &arguments);

std::string render(const v1::Status &status, const Layout &layout);
std::string render(const v1::ServiceStatusList &list, const Layout &layout);
std::string render(const v1::InstanceList &list, const Layout &layout);
std::string render(const v1::PathList &list, const Layout &layout);
std::string render(const v1::RingList &list, const Layout &layout);
std::string render(const v1::FlowList &list, const Layout &layout);
std::string render(const v1::SessionList &list, const Layout &layout);
std::string render(const v1::Stats &stats, const Layout &layout);
std::string render(const v1::OutcomeList &list, const Layout &layout);
std::string render(const v1::Explanation &explanation, const Layout &layout);
std::string render(const v1::ReservationList &list, const Layout &layout);
std::string render(const v1::SiteTable &table, const Layout &layout);
std::string render(const v1::SiteDeltaResult &result, const Layout &layout);
std::string render(const v1::ServiceCatalogue &catalogue, const Layout &layout);
std::string render(const v1::Service &service, const Layout &layout);
std::string render(const v1::ServiceChange &change, const Layout &layout);
std::string render(const v1::DrainList &list, const Layout &layout);
std::string render(const v1::Bypass &bypass, const Layout &layout);

// The acknowledgement of a request, with the location of its reservation ("" when refused).
struct Granted {
  v1::Acknowledgement acknowledgement;
  std::string location;
};
std::string render(const Granted &granted, const Layout &layout);
std::string json(const Granted &granted);

// Service IDs as the agent knows them; empty when it does not answer.
ServiceNames service_names(Context &context);
// The CS-ID of a service given by Service ID or number; fails where a Service ID is not known.
Result<uint32_t> cs_id_of(const std::string &service, const ServiceNames &names);
// What the last of these words may become (one may be empty), where the others stand before it.
std::vector<std::string> names_for_last(Context &context, const std::vector<std::string> &words);
// A file (YAML or JSON, "-": standard input) as a message; knows on which line each field stands.
Result<cmas::YamlFile> read_message_file(const std::string &path, google::protobuf::Message &message);

}  // namespace catsbpf::cli
