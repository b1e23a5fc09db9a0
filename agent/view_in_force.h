// SPDX-License-Identifier: Apache-2.0
// Where packets go by the view of the agent before this one, as the path selector wants to hear it at its start.
#pragma once

#include <vector>

#include "agent/config/config.h"
#include "agent/selector/path_selector.h"
#include "maps/tables.h"

namespace catsbpf::agent {

// The instances in use and drained whose egress is a forwarder of the configuration, each with its share of the rings.
std::vector<SelectorOptions::Programmed> instances_in_force(const maps::Tables &tables,
                                                            const std::vector<Config::Forwarder> &forwarders);

}  // namespace catsbpf::agent
