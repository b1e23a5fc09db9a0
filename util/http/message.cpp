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

namespace {

// Where whoever made the error had no better idea.
std::string usual_hint(int status) {
  switch (status) {
    case 400: return "catsbpf-api(7) describes what each call takes";
    case 403: return "who may call what is in catsbpf-api(7)";
    case 404: return "catsbpf-api(7) lists what can be asked here";
    case 409: return "ask for the present state, then decide anew";
    case 503: return "try again in a moment";
    default: return "the log of the program that answered says more";
  }
}

}  // namespace

Response failure(int status, const Error &error) {
  v1::ApiError body;
  body.set_error(error.what);
  body.set_hint(error.hint.empty() ? usual_hint(status) : error.hint);
  return json(body, status);
}

Result<> parse(const Request &request, google::protobuf::Message &message) {
  if (request.body.empty())
    return Error{"request has no body", "send a JSON object; " + fields_of(*message.GetDescriptor())};
  return from_json(request.body, message);
}

Error error_of(const Answer &answer) {
  v1::ApiError body;
  if (from_json(answer.body, body) && !body.error().empty()) return Error{body.error(), body.hint(), 0};
  return Error{"server answered " + std::to_string(answer.status) + " without a reason that we can read",
               "is it the right program that listens there?", 0};
}

}  // namespace catsbpf::http
