// SPDX-License-Identifier: Apache-2.0
#include "agent/platform_client/cache.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>

#include "util/fd.h"
#include "util/file.h"

namespace catsbpf {

namespace {

constexpr std::size_t kMostBytes = 1 << 30;  // a registry has no limit of its own

// Why the bytes are no copy; "": they are one. The revision is written last.
std::string fault_of(const std::string &bytes, v1::ServiceCatalogue &catalogue) {
  if (bytes.empty()) return "it is empty";
  if (!catalogue.ParseFromString(bytes)) return "it is cut off, or no service catalogue at all";
  return catalogue.revision() == 0 ? "it is cut off: the revision at its end is missing" : "";
}

}  // namespace

Result<std::optional<v1::ServiceCatalogue>> read_cache(const std::string &file) {
  const std::string what = "cached copy " + file;
  const auto bytes = read_file(file, kMostBytes);
  if (!bytes && bytes.error().code == ENOENT) return std::optional<v1::ServiceCatalogue>{};
  if (!bytes) return Error{what + ": " + bytes.error().what, "remove it, or let the agent read it: it is only a copy"};
  v1::ServiceCatalogue catalogue;
  if (const std::string fault = fault_of(*bytes, catalogue); !fault.empty())
    return Error{what + ": " + fault, "the platform's answer replaces it; until then this agent knows no service"};
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
