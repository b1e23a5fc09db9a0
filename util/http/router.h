// SPDX-License-Identifier: Apache-2.0
// Which handler answers a request: patterns like "/v1/services/:id", the most literal one wins.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "util/http/server.h"

namespace catsbpf::http {

class Router {
 public:
  void add(std::string method, const std::string &pattern, Handler handler);

  struct Match {
    const Handler *handler = nullptr;  // null: see `allowed`
    std::map<std::string, std::string> parameters;
    std::string allowed;  // methods of the path, "" when it is unknown: 404, else 405
  };
  // HEAD is answered by the handler of GET.
  Match find(const std::string &method, const std::vector<std::string> &segments) const;

 private:
  struct Route {
    std::string method;
    std::vector<std::string> segments;
    Handler handler;
  };
  std::deque<Route> routes_;  // a handler in use stays where it is when routes are added
};

}  // namespace catsbpf::http
