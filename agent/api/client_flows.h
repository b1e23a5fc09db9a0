// SPDX-License-Identifier: Apache-2.0
// Flows of one client to one service, from the flow table. Reads the table in slices, so that the
// event loop goes on meanwhile.
#pragma once

#include <boost/asio/awaitable.hpp>

#include <map>

#include "agent/dataplane/dataplane.h"

namespace catsbpf::agent {

// CSCI-ID -> number of flows; 0: plain routing.
boost::asio::awaitable<std::map<uint32_t, uint32_t>> flows_of(Dataplane &dataplane, maps::address client,
                                                              uint32_t cs_id);

}  // namespace catsbpf::agent
