// SPDX-License-Identifier: Apache-2.0
// The other programs, as the verbs see them: one call, one reply. HTTP, TLS and sockets stay behind it
// (remote.cpp), a fake stands here in tests.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "cli/options.h"
#include "util/result.h"

namespace catsbpf::cli {

struct Call {
  Api api = Api::agent;
  std::string method = "GET", path{}, body{};
  std::string url{};  // instead of the configured one
};

struct Reply {
  int status = 0;
  std::string body;
  std::map<std::string, std::string> headers;  // names in lower case

  bool good() const { return status >= 200 && status < 300; }
  // Of a reply that is not good: what the server said.
  Error error() const;
};

struct Event {
  std::string name, data;
};

class Remote {
 public:
  virtual ~Remote() = default;
  // Error: no answer at all. Any status is a Reply.
  virtual Result<Reply> call(const Call &call) = 0;
  // Until the server ends the stream (Error) or the user interrupts (done).
  virtual Result<> watch(const Call &call, const std::function<void(const Event &)> &event) = 0;

  static std::unique_ptr<Remote> over_http(const Options &options);
};

// Nobody listens there (or nothing is there), as opposed to: may not, answers nonsense.
bool nobody_answers(const Error &error);

// Percent-encoding for one path segment or query value.
std::string url_encoded(const std::string &text);

}  // namespace catsbpf::cli
