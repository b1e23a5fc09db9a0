// SPDX-License-Identifier: Apache-2.0
#include "util/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "util/fd.h"

namespace catsbpf {

namespace {

Error reason(int code) { return Error{std::strerror(code), "", code}; }

}  // namespace

Result<> can_read(const std::string &path) {
  struct stat status {};
  if (::access(path.c_str(), R_OK) != 0 || ::stat(path.c_str(), &status) != 0) return reason(errno);
  if (S_ISDIR(status.st_mode)) return reason(EISDIR);
  if (!S_ISREG(status.st_mode)) return Error{"it is no regular file", "name a file, not a pipe or a device", EINVAL};
  return done();
}

Result<std::string> read_file(const std::string &path, std::size_t most) {
  if (auto can = can_read(path); !can) return can.error();
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return reason(errno);
  std::string text;
  char part[65536];
  while (true) {
    const ssize_t size = ::read(fd.get(), part, sizeof part);
    if (size == 0) return text;
    if (size > 0)
      text.append(part, static_cast<std::size_t>(size));
    else if (errno != EINTR)
      return reason(errno);
    if (text.size() > most)
      return Error{"it has more than " + std::to_string(most >> 20) + " MiB", "is it the right file?", EFBIG};
  }
}

}  // namespace catsbpf
