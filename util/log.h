// SPDX-License-Identifier: Apache-2.0
// The one log sink: spdlog to stderr. One line per event,
// lower case, key=value. Levels: error (someone must act), warn (we coped), info (state changed), debug.
#pragma once

#include <spdlog/spdlog.h>

#include <string>
#include <string_view>

#include "util/result.h"

namespace catsbpf::log {

using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::warn;

// level: "debug", "info", "warn", "error".
Result<> set_up(const std::string &program, const std::string &level);

// `message` as it is written. Part of it may come from a peer, which must not be able to forge an event: further
// lines are indented, control characters become '?', and what is longer than 8 KiB is cut.
std::string one_event(std::string_view message);

}  // namespace catsbpf::log
