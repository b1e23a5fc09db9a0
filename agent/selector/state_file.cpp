// SPDX-License-Identifier: Apache-2.0
#include "agent/selector/state_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "util/fd.h"
#include "util/log.h"

namespace catsbpf::agent {

namespace {

Error cannot_write(const std::string &file, int code) {
  const bool full = code == ENOSPC || code == EDQUOT;
  return system_error("cannot write " + file, code,
                      full ? "free space in state_directory" : "state_directory must be writable for catsbpfd");
}

Result<> write_beside(const std::string &beside, const std::string &text) {
  Fd file(open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file.valid()) return cannot_write(beside, errno);
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t n = write(file.get(), text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return cannot_write(beside, errno);
    at += static_cast<std::size_t>(n);
  }
  // A full disk may show here only.
  if (fdatasync(file.get()) != 0) return cannot_write(beside, errno);
  return done();
}

}  // namespace

Result<> write_whole(const std::string &path, const std::string &text) {
  const std::string beside = path + ".new";
  if (auto written = write_beside(beside, text); !written) {
    unlink(beside.c_str());  // what is half written takes space that is wanted
    return written;
  }
  if (rename(beside.c_str(), path.c_str()) != 0) return system_error("cannot rename " + beside + " to " + path, errno);
  return done();
}

void set_aside(const std::string &path, const std::string &why, const std::string &lost) {
  const std::string aside = path + ".broken";
  if (rename(path.c_str(), aside.c_str()) == 0)
    log::error("{} cannot be used: {}; it is now {}; {}", path, why, aside, lost);
  else
    log::error("{} cannot be used: {}; it cannot be renamed to {} either: {}; {}", path, why, aside,
               std::strerror(errno), lost);
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
