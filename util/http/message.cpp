// SPDX-License-Identifier: Apache-2.0
#include "util/http/message.h"

#include "cmas/proto/api.pb.h"
#include "cmas/proto/json.h"
#include "util/http/client.h"
#include "util/http/server.h"

namespace catsbpf::http {

std::string header_line(const std::string &name, const std::string &value) {
  std::string line = name + ": " + value;
  for (char &c : line)
    if (c == '\r' || c == '\n' || c == '\0') c = ' ';
  return line + "\r\n";
}

Response json(const google::protobuf::Message &message, int status) {
  Response response;
  response.status = status;
  response.body = to_json(message) + "\n";
  return response;
}

Response failure(int status, const Error &error) {
  v1::ApiError body;
  body.set_error(error.what);
  body.set_hint(error.hint);
  return json(body, status);
}

Result<> parse(const Request &request, google::protobuf::Message &message) {
  if (request.body.empty())
    return Error{"request has no body", "send a JSON object: " + message.GetDescriptor()->name() + " of the API"};
  return from_json(request.body, message);
}

Error error_of(const Answer &answer) {
  v1::ApiError body;
  if (from_json(answer.body, body) && !body.error().empty()) return Error{body.error(), body.hint(), 0};
  return Error{"server answered " + std::to_string(answer.status) + " without a reason that we can read", "", 0};
}

}  // namespace catsbpf::http
