// SPDX-License-Identifier: Apache-2.0
#include "agent/selector/state_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>

#include "util/fd.h"

namespace catsbpf::agent {

Result<> write_whole(const std::string &path, const std::string &text) {
  const std::string beside = path + ".new";
  Fd file(open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file.valid()) return system_error("cannot write " + beside, errno, "state_directory must be writable for catsbpfd");
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t n = write(file.get(), text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return system_error("cannot write " + beside, errno);
    at += static_cast<std::size_t>(n);
  }
  if (fdatasync(file.get()) != 0) return system_error("cannot write " + beside, errno);
  if (rename(beside.c_str(), path.c_str()) != 0) return system_error("cannot rename " + beside + " to " + path, errno);
  return done();
}

Result<std::optional<std::string>> read_whole(const std::string &path) {
  Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) {
    if (errno == ENOENT) return std::optional<std::string>{};
    return system_error("cannot read " + path, errno);
  }
  std::string text;
  char buffer[65536];
  for (;;) {
    const ssize_t n = read(file.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error("cannot read " + path, errno);
    if (n == 0) return std::optional<std::string>{std::move(text)};
    text.append(buffer, static_cast<std::size_t>(n));
  }
}

}  // namespace catsbpf::agent
