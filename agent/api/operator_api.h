// SPDX-License-Identifier: Apache-2.0
// The operator's API on a UNIX socket: questions and switches for people on this host. Who may open the
// socket may do everything (mode 0660, owner root).
#pragma once

#include <boost/asio/io_context.hpp>

#include <memory>

#include "agent/api/parts.h"

namespace catsbpf::agent {

class OperatorApi {
 public:
  // `parts` and what they point to outlive the API. Fails naming the socket.
  static Result<std::unique_ptr<OperatorApi>> open(boost::asio::io_context &io, const std::string &socket,
                                                   const Parts &parts);
  virtual ~OperatorApi() = default;
  virtual void stop() = 0;
};

}  // namespace catsbpf::agent
