// SPDX-License-Identifier: Apache-2.0
// What the control plane wants the data plane to do. Written by the path selector (services, rings,
// instances), the C-SMA of an egress (deliveries) and the request API (sessions); the programmer makes it so.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cmas/model.h"
#include "cmas/proto/service.pb.h"
#include "cmas/ring.h"

namespace catsbpf::agent {

// Where an instance stands for the data plane (maps: enum instance_state).
enum class InstanceWish { kActive, kDraining, kDead };

struct WantedInstance {
  uint32_t csci_id = 0;
  std::string egress;  // name of a configured forwarder
  InstanceWish wish = InstanceWish::kActive;
  bool operator==(const WantedInstance &) const = default;
};

struct WantedService {
  std::string service_id;
  uint32_t cs_id = 0;
  std::vector<v1::Locator> locators;
  v1::Affinity affinity;
  std::vector<WantedInstance> instances;   // all that flows may be on, ring members among them
  std::shared_ptr<const cmas::Ring> ring;  // members name CSCI-IDs of `instances`; null or empty: none
};

// A local instance of this egress (delivery `direct`).
struct WantedDelivery {
  uint32_t cs_id = 0;
  uint32_t csci_id = 0;
  std::string contact;   // on-link address, IPv4 or IPv6
  std::string contact6;  // "", or the IPv6 one beside an IPv4 contact
  bool operator==(const WantedDelivery &) const = default;
};

// A granted request: new flows of `client` to the service go to the instance until it expires.
struct WantedSession {
  uint64_t reservation = 0;
  std::string client;  // address
  uint32_t cs_id = 0;
  uint32_t csci_id = 0;
  std::chrono::milliseconds lease{0};  // from now
};

}  // namespace catsbpf::agent
