// SPDX-License-Identifier: Apache-2.0
// The operator's values, made from the parts of the agent at the moment of the question. No side effects.
#pragma once

#include "agent/api/parts.h"
#include "cmas/proto/api.pb.h"

namespace catsbpf::agent {

v1::Status status_view(const Parts &parts);
v1::ServiceStatusList services_view(const Parts &parts);
v1::InstanceList instances_view(const Parts &parts);
v1::PathList paths_view(const Parts &parts);
v1::RingList rings_view(const Parts &parts);
v1::DrainList drains_view(const Parts &parts);
v1::SessionList sessions_view(const Parts &parts);
// What is off now and an operator should look at: interfaces down, strict rp_filter, unresolved paths, ...
std::vector<std::string> warnings_view(const Parts &parts);

}  // namespace catsbpf::agent
