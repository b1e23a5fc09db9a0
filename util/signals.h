// SPDX-License-Identifier: Apache-2.0
// Signals that must not end a daemon, from the first line of its main().
#pragma once

#include <csignal>

namespace catsbpf {

// A reload that is asked for before somebody takes it, a reader that went, a file that may not grow: the failed call
// tells of the last two.
inline void ignore_signals() {
  for (const int number : {SIGHUP, SIGPIPE, SIGXFSZ}) std::signal(number, SIG_IGN);
}

}  // namespace catsbpf
