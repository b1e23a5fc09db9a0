// SPDX-License-Identifier: Apache-2.0
#include "agent/platform_client/cache.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>

#include "util/fd.h"

namespace catsbpf {

Result<std::optional<v1::ServiceCatalogue>> read_cache(const std::string &file) {
  const std::string what = "cached copy " + file;
  const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid() && errno == ENOENT) return std::optional<v1::ServiceCatalogue>{};
  if (!fd.valid()) return system_error(what, errno);
  v1::ServiceCatalogue catalogue;
  // The revision is written last: a copy without one is cut off.
  if (!catalogue.ParseFromFileDescriptor(fd.get()) || catalogue.revision() == 0)
    return Error{what + ": is broken", "it is replaced as soon as the platform is there"};
  return std::optional<v1::ServiceCatalogue>(std::move(catalogue));
}

// Without fsync: the loop must not wait for a disk, and a copy that a power failure cuts off is seen as such.
Result<> write_cache(const std::string &file, const v1::ServiceCatalogue &catalogue) {
  const std::string what = "cached copy " + file, next = file + ".new";
  const std::string bytes = catalogue.SerializeAsString();
  Fd fd(::open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.valid()) return system_error(what, errno);
  for (std::size_t written = 0; written < bytes.size();) {
    const ssize_t size = ::write(fd.get(), bytes.data() + written, bytes.size() - written);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) {
      const int code = errno;
      ::unlink(next.c_str());
      return system_error(what, code);
    }
    written += static_cast<std::size_t>(size);
  }
  if (::rename(next.c_str(), file.c_str()) != 0) return system_error(what, errno);
  return done();
}

}  // namespace catsbpf
