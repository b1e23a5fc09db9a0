// SPDX-License-Identifier: Apache-2.0
// The real program on a terminal.
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>

#include "tests/unit/cli_support.h"

namespace catsbpf::cli {
namespace {

// What `catsbpf help` prints on a terminal of so many columns.
std::string help_on_terminal(unsigned short columns) {
  winsize size{.ws_row = 24, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
  int terminal = -1;
  const pid_t child = forkpty(&terminal, nullptr, nullptr, &size);
  if (child == 0) {
    execl(CATSBPF_PROGRAM, "catsbpf", "help", static_cast<char *>(nullptr));
    _exit(127);
  }
  std::string text;
  std::array<char, 4096> buffer;
  ssize_t read_now = 0;
  while ((read_now = read(terminal, buffer.data(), buffer.size())) > 0) text.append(buffer.data(), read_now);
  close(terminal);
  waitpid(child, nullptr, 0);
  std::erase(text, '\r');
  return text;
}

TEST(CliTerminal, text_is_as_wide_as_the_terminal) {
  const auto narrow = help_on_terminal(80), wide = help_on_terminal(200);
  EXPECT_LE(widest_line(narrow), 80U) << narrow;
  EXPECT_GT(widest_line(narrow), 60U) << narrow;
  EXPECT_GT(widest_line(wide), 80U) << wide;
}

TEST(CliTerminal, less_than_80_columns_count_as_80) { EXPECT_EQ(help_on_terminal(20), help_on_terminal(80)); }

}  // namespace
}  // namespace catsbpf::cli
