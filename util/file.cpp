// SPDX-License-Identifier: Apache-2.0
#include "util/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "util/fd.h"

namespace catsbpf {

Result<> can_read(const std::string &path) {
  struct stat status {};
  const std::string what = "cannot read " + path;
  if (::access(path.c_str(), R_OK) != 0 || ::stat(path.c_str(), &status) != 0) return system_error(what, errno);
  return S_ISDIR(status.st_mode) ? system_error(what, EISDIR) : done();
}

Result<std::string> read_file(const std::string &path) {
  const std::string what = "cannot read " + path;
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return system_error(what, errno);
  std::string text;
  char part[65536];
  while (true) {
    const ssize_t size = ::read(fd.get(), part, sizeof part);
    if (size == 0) return text;
    if (size > 0)
      text.append(part, static_cast<std::size_t>(size));
    else if (errno != EINTR)
      return system_error(what, errno);
  }
}

}  // namespace catsbpf
