// SPDX-License-Identifier: Apache-2.0
// The pinned maps with their sizes, or the entries of one. maps::Tables refuses another layout.
#include "cli/decode.h"
#include "cli/verbs/verbs.h"

namespace catsbpf::cli {

Result<Exit> map(Context &context, const Arguments &arguments) {
  const auto limit = arguments.number("limit");
  if (!limit) return limit.error();
  const auto tables = tables_of(context);
  if (!tables) return tables.error();
  if (arguments.positional().empty()) {
    const auto maps = (*tables)->maps();
    if (!maps) return maps.error();
    show(context, decode_maps(*maps));
    return Exit::done;
  }
  const auto grid = decode_map(**tables, arguments.word(0), limit->value_or(50));
  if (!grid) return grid.error();
  show(context, *grid);
  return Exit::done;
}

}  // namespace catsbpf::cli
