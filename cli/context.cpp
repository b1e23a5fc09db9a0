// SPDX-License-Identifier: Apache-2.0
#include "cli/context.h"

#include <algorithm>
#include <cerrno>

#include "cli/format.h"
#include "cli/from_maps.h"

namespace catsbpf::cli {

Result<> decode(const Result<Reply> &reply, google::protobuf::Message &message) {
  if (!reply) return reply.error();
  if (!reply->good()) return reply->error();
  if (const auto parsed = from_json(reply->body, message); !parsed)
    return Error{"cannot read the answer: " + parsed.error().what, "are catsbpf and the server of the same version?"};
  return done();
}

Result<std::unique_ptr<maps::Tables>> tables_instead(Context &context, const Error &why) {
  auto tables = context.open_tables();
  if (!tables)
    return Error{"agent is down (" + why.what + ") and there are no maps to read: " + tables.error().what,
                 tables.error().hint.empty() ? "start catsbpfd, or name its --socket and --pins" : tables.error().hint};
  const double age = heartbeat_age_s(**tables);
  if (shows_life(age))
    context.err << "agent cannot be reached (" << printable(why.what) << "), but gave a sign of life " << duration(age)
                << " ago: showing the pinned maps\n"
                << "hint: its socket is another one (name it by --socket or CATSBPF_SOCKET), or it ended just now\n";
  else
    context.err << "agent is down: showing the pinned maps\n";
  return tables;
}

Result<std::unique_ptr<maps::Tables>> tables_of(Context &context) {
  auto tables = context.open_tables();
  if (tables || tables.error().code != ENOENT) return tables;
  const auto status = ask<v1::Status>(context, {.path = "/v1/status"});
  if (!status ||
      std::ranges::any_of(status->roles(), [](const auto &role) { return role == "ingress" || role == "egress"; }))
    return tables;
  std::string roles;
  for (const auto &role : status->roles()) roles += (roles.empty() ? "" : ", ") + role;
  return Error{"node " + status->node() + " has no data plane: its agent is neither ingress nor egress (" + roles + ")",
               "ask on an ingress or an egress", ENOENT};
}

}  // namespace catsbpf::cli
