// SPDX-License-Identifier: Apache-2.0
// What a verb works with, and the one way in which it shows its value: as text or as JSON, from the same message.
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "cli/arguments.h"
#include "cli/options.h"
#include "cli/remote.h"
#include "cli/table.h"
#include "cmas/proto/api.pb.h"
#include "cmas/proto/json.h"
#include "maps/tables.h"

namespace catsbpf::cli {

struct Context {
  const Options &options;
  Remote &remote;
  std::function<Result<std::unique_ptr<maps::Tables>>()> open_tables;
  std::ostream &out, &err;
  Layout layout;
};

inline std::string json(const google::protobuf::Message &message) { return to_json(message, true) + "\n"; }

// One flow a line, made one by one: half a million flows as one JSON tree would take 3 GB.
std::string json(const v1::FlowList &list);

// Prints `value` by its render() or json().
template <class Value>
void show(Context &context, const Value &value) {
  if (context.options.json)
    context.out << json(value);
  else
    context.out << render(value, context.layout);
}

// ---- the agent, and the maps when it is away ----

// The reply's body as a message; replies that are not 2xx become what the server said.
Result<> decode(const Result<Reply> &reply, google::protobuf::Message &message);

template <class Message>
Result<Message> ask(Context &context, const Call &call) {
  Message message;
  if (const auto decoded = decode(context.remote.call(call), message); !decoded) return decoded.error();
  return message;
}

// The tables, with a line on stderr that says that the agent is down, or lives and cannot be reached (`why`).
Result<std::unique_ptr<maps::Tables>> tables_instead(Context &context, const Error &why);

// The tables, for what is read there alone; an error where nothing is pinned for the agent forwards nothing.
Result<std::unique_ptr<maps::Tables>> tables_of(Context &context);

// What the agent says; when nobody answers there, what `read` finds in the pinned maps.
template <class Message>
Result<Message> ask_or_read(Context &context, const std::string &path, Result<Message> (*read)(const maps::Tables &)) {
  auto answer = ask<Message>(context, {.path = path});
  if (answer || !nobody_answers(answer.error())) return answer;
  const auto tables = tables_instead(context, answer.error());
  if (!tables) return tables.error();
  return read(**tables);
}

// ask_or_read and show, which is all of many verbs.
template <class Message>
Result<Exit> show_or_read(Context &context, const std::string &path, Result<Message> (*read)(const maps::Tables &)) {
  const auto value = ask_or_read<Message>(context, path, read);
  if (!value) return value.error();
  show(context, *value);
  return Exit::done;
}

// ask and show.
template <class Message>
Result<Exit> show_answer(Context &context, const Call &call) {
  const auto value = ask<Message>(context, call);
  if (!value) return value.error();
  show(context, *value);
  return Exit::done;
}

}  // namespace catsbpf::cli
