// SPDX-License-Identifier: Apache-2.0
// The operator's switch: new flows to plain routing.
#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

std::string render(const v1::Bypass &bypass, const Layout &) {
  return bypass.on() ? "bypass is on: new flows follow plain routing\n" : "bypass is off\n";
}

Result<Exit> bypass(Context &context, const Arguments &arguments) {
  v1::Bypass value;
  if (arguments.positional().empty()) {
    const auto status = ask_or_read<v1::Status>(context, "/v1/status", read_status);
    if (!status) return status.error();
    value.set_on(status->bypass());
  } else {
    const auto on = parse_switch("bypass", arguments.word(0));
    if (!on) return on.error();
    value.set_on(*on);
    const auto reply = context.remote.call({.method = "PUT", .path = "/v1/bypass", .body = to_json(value)});
    if (!reply) return reply.error();
    if (!reply->good()) return reply->error();
  }
  show(context, value);
  return Exit::done;
}

}  // namespace catsbpf::cli
