// SPDX-License-Identifier: Apache-2.0
// What either end of a session remembers of it, over all sessions with that peer, for `catsbpf sessions`.
#pragma once

#include <memory>
#include <string>

#include "agent/session/connection.h"
#include "cmas/proto/api.pb.h"

namespace catsbpf::agent {

struct SessionRecord {
  std::string address;
  std::string reason;  // why the last session ended or was refused
  uint32_t version = 0, resyncs = 0;
  uint64_t refusals = 0;
  Connection::Clock::time_point heard{};  // of the last session

  // `live`: the session that is up, or null.
  v1::SessionStatus status(const std::shared_ptr<Connection> &live) const {
    v1::SessionStatus status;
    status.set_address(address);
    status.set_version(version);
    status.set_reason(reason);
    status.set_resyncs(resyncs);
    status.set_refused(refusals);
    const auto last = live ? live->heard() : heard;
    const std::chrono::duration<double> ago = Connection::Clock::now() - last;
    status.set_heard_s(last == Connection::Clock::time_point{} ? -1 : ago.count());
    return status;
  }
};

}  // namespace catsbpf::agent
