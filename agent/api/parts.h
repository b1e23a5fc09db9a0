// SPDX-License-Identifier: Apache-2.0
// What the operator's API looks at: the parts of a running agent, null where its roles have no use for
// one. Filled by main.cpp; only read here.
#pragma once

#include <chrono>

#include "agent/config/config.h"
#include "agent/network_metrics/interface_rates.h"
#include "agent/network_metrics/network_metric_agent.h"
#include "agent/platform_client/platform_client.h"
#include "agent/programmer/programmer.h"
#include "agent/selector/path_selector.h"
#include "agent/service_metrics/service_metric_agent.h"
#include "agent/session/session_server.h"
#include "maps/tables.h"

namespace catsbpf::agent {

struct Parts {
  const Config *config = nullptr;
  std::chrono::steady_clock::time_point started;
  Dataplane *dataplane = nullptr;
  const maps::Tables *tables = nullptr;
  Programmer *programmer = nullptr;
  PathSelector *selector = nullptr;
  const SessionServer *sessions = nullptr;
  const ServiceMetricAgent *service_metrics = nullptr;
  const NetworkMetricAgent *network_metrics = nullptr;
  const InterfaceRates *rates = nullptr;
  const PlatformClient *platform = nullptr;
};

}  // namespace catsbpf::agent
