// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 client for our own APIs: JSON calls and server-sent events, over TCP, TLS 1.3 or a UNIX socket.
#pragma once

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "util/result.h"
#include "util/tls/identity.h"

namespace catsbpf::http {

struct Target {
  std::string url;                                   // "https://10.0.0.1:8443", "http://...", "unix:/run/x.sock"
  std::shared_ptr<boost::asio::ssl::context> tls{};  // for https
  // For https: who must answer. Empty: any certificate of the authority that names the url's host or address.
  std::optional<tls::Expected> server{};
  std::chrono::milliseconds timeout{5000};   // of a call as a whole; of a watch until its answer begins
  std::chrono::milliseconds silence{45000};  // a watch without a byte for so long is broken
};

struct Answer {
  int status = 0;
  std::string body;
  std::map<std::string, std::string> headers;  // names in lower case
};

// One call. Error: no answer at all (refused, time-out, TLS); any status is an Answer.
boost::asio::awaitable<Result<Answer>> call(Target target, std::string method, std::string path, std::string body = {},
                                            std::map<std::string, std::string> headers = {});
// The same, blocking, for programs without an event loop.
Result<Answer> call_blocking(const Target &target, const std::string &method, const std::string &path,
                             const std::string &body = {}, const std::map<std::string, std::string> &headers = {});
// "ERROR\nhint: HINT" of an answer that is not 2xx, as an Error.
Error error_of(const Answer &answer);

struct Event {
  std::string name, id, data;
};
// Reads server-sent events until the server ends the stream (done) or it breaks (Error); calls `event` for each.
// An answer that is not 2xx is an Error with its status as code. To end it, cancel the coroutine.
boost::asio::awaitable<Result<>> watch(Target target, std::string path, std::function<void(Event)> event,
                                       std::map<std::string, std::string> headers = {});

}  // namespace catsbpf::http
