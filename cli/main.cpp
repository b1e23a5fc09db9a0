// SPDX-License-Identifier: Apache-2.0
// catsbpf: what the operator types. The real world behind cli/command.h.
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "cli/command.h"

namespace {

// A terminal shows as much as it is wide, from 80 columns; a pipe gets 100.
catsbpf::cli::Layout layout_of_stdout() {
  catsbpf::cli::Layout layout;
  winsize size{};
  if (!isatty(STDOUT_FILENO)) return layout;
  layout.colour = std::getenv("NO_COLOR") == nullptr;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    layout.width = std::max<std::size_t>(80, size.ws_col);
  return layout;
}

}  // namespace

int main(int count, char **words) {
  using namespace catsbpf;
  const cli::World world{std::cout,
                         std::cerr,
                         [](const char *name) { return static_cast<const char *>(std::getenv(name)); },
                         cli::Remote::over_http,
                         maps::Tables::open,
                         layout_of_stdout()};
  const auto exit = cli::run({words + 1, words + count}, world);
  std::cout.flush();
  if (!std::cout && exit == cli::Exit::done) {
    std::cerr << "error: cannot write the output\n";
    return static_cast<int>(cli::Exit::failed);
  }
  return static_cast<int>(exit);
}
