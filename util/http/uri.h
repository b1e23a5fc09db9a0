// SPDX-License-Identifier: Apache-2.0
// The parts of a request's target and of a URL that we use.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "util/endpoint.h"
#include "util/result.h"

namespace catsbpf::http {

// Empty on a broken escape or a NUL.
std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space = false);
// All but letters, digits and "-._~"; for one segment of a path or a value of a query.
std::string percent_encode(std::string_view text);

// "/v1/services/a%20b?search=x+y" (or the absolute form), split and decoded.
struct RequestTarget {
  std::vector<std::string> segments;  // "v1", "services", "a b"
  std::string path;
  std::map<std::string, std::string> query;
};
Result<RequestTarget> parse_target(std::string_view target);

struct Url {
  enum class Scheme { kHttp, kHttps, kUnix } scheme = Scheme::kHttp;
  HostPort address;                                                                         // kHttp, kHttps
  std::string path;                                                                         // kUnix: of the socket
  std::string object() const { return scheme == Scheme::kUnix ? path : to_text(address); }  // for messages
};
// "https://10.0.0.1:8443", "http://name", "unix:/run/x.sock", "/run/x.sock"
Result<Url> parse_url(const std::string &url);

}  // namespace catsbpf::http
