// SPDX-License-Identifier: Apache-2.0
// Says when to look at the kernel's network state anew. In: groups of route netlink. Out: a call on the event
// loop some milliseconds after messages that matter (bursts are one call) or after lost ones, and one each period.
#pragma once

#include <linux/netlink.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "util/result.h"

namespace catsbpf::agent {

class Changes {
 public:
  virtual ~Changes() = default;

  // No call is made once the Changes are gone. Fails when netlink cannot be followed.
  using Matters = std::function<bool(nlmsghdr *)>;
  static Result<std::unique_ptr<Changes>> open(boost::asio::io_context &io, const std::vector<int> &groups,
                                               std::chrono::milliseconds period, Matters matters,
                                               std::function<void()> look);
  // Of the links of these names, of those that stand on one of them, and of this host's addresses.
  static Result<std::unique_ptr<Changes>> of_links(boost::asio::io_context &io, std::vector<std::string> names,
                                                   std::chrono::milliseconds period, std::function<void()> look);
};

}  // namespace catsbpf::agent
