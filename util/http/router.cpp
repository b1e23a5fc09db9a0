// SPDX-License-Identifier: Apache-2.0
#include "util/http/router.h"

#include <algorithm>
#include <optional>
#include <set>

namespace catsbpf::http {

namespace {

std::vector<std::string> split(const std::string &pattern) {
  std::vector<std::string> segments;
  for (std::size_t from = 1; from < pattern.size();) {
    const auto end = std::min(pattern.find('/', from), pattern.size());
    segments.push_back(pattern.substr(from, end - from));
    from = end + 1;
  }
  return segments;
}

bool is_parameter(const std::string &segment) { return segment.starts_with(':'); }

// How many segments are literal; empty: does not match.
std::optional<std::size_t> literals(const std::vector<std::string> &pattern, const std::vector<std::string> &segments) {
  if (pattern.size() != segments.size()) return std::nullopt;
  std::size_t count = 0;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (is_parameter(pattern[i])) continue;
    if (pattern[i] != segments[i]) return std::nullopt;
    ++count;
  }
  return count;
}

}  // namespace

void Router::add(std::string method, const std::string &pattern, Handler handler) {
  routes_.push_back({std::move(method), split(pattern), std::move(handler)});
}

Router::Match Router::find(const std::string &method, const std::vector<std::string> &segments) const {
  const std::string wanted = method == "HEAD" ? "GET" : method;
  std::size_t most = 0;
  for (const auto &route : routes_)
    if (const auto count = literals(route.segments, segments)) most = std::max(most, *count + 1);

  Match match;
  std::set<std::string> methods;
  for (const auto &route : routes_) {
    const auto count = literals(route.segments, segments);
    if (!count || *count + 1 < most) continue;
    methods.insert(route.method);
    if (route.method == "GET") methods.insert("HEAD");
    if (match.handler || route.method != wanted) continue;
    match.handler = &route.handler;
    for (std::size_t i = 0; i < segments.size(); ++i)
      if (is_parameter(route.segments[i])) match.parameters[route.segments[i].substr(1)] = segments[i];
  }
  for (const auto &name : methods) match.allowed += (match.allowed.empty() ? "" : ", ") + name;
  return match;
}

}  // namespace catsbpf::http
