// SPDX-License-Identifier: Apache-2.0
// The agent's copy of the public service table. In: the cached copy on disk, then the platform's watch (server-sent
// events). Out: callbacks with each service that is new or changed, each that went, and a state for people.
// The platform may be away for ever: the agent goes on with what it has. So it does when the registry went back to an
// older revision in which services are missing or different (its database was lost), until it has them again or its
// revision has reached the known one.
#pragma once

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "cmas/proto/service.pb.h"
#include "util/http/client.h"
#include "util/result.h"

namespace catsbpf {

struct PlatformClientOptions {
  http::Target target;     // url, tls context, expected identity (role platform)
  std::string cache_file;  // a ServiceCatalogue in binary; "": no cache
  // Wait before the next attempt: doubles from `first_wait` to `longest_wait`, each one with jitter (half to whole).
  std::chrono::milliseconds first_wait{200};
  std::chrono::milliseconds longest_wait{15000};
};

// Called on the io_context's thread, never from within open() or the destructor.
struct PlatformClientCallbacks {
  std::function<void(const v1::Service &)> on_put;
  std::function<void(const std::string &service_id)> on_remove;
  // "connected (revision 7)", "away (cached copy of revision 7)", "away (no cached copy)", "went back from revision 7
  // to 0, not taken: AR1 missing or different"; why it is away is in the log
  std::function<void(const std::string &state)> on_state;
};

class PlatformClient {
 public:
  // Reads the cached copy (a broken one is warned of and left out) and starts to watch. The cached services come
  // by on_put in the first turn of the event loop. Each connection begins with all services: what the platform no
  // longer has is removed then, first of all, so that a CS-ID that moved has one owner at every moment. Fails when the
  // target's url or its TLS is not usable.
  static Result<std::unique_ptr<PlatformClient>> open(boost::asio::io_context &io, PlatformClientOptions options,
                                                      PlatformClientCallbacks callbacks);
  virtual ~PlatformClient() = default;  // stops; no callback comes afterwards

  // Services are known, from the cache or from the platform (a restart waits for it).
  virtual bool known() const = 0;
  virtual std::uint64_t revision() const = 0;  // of the registry, as far as known; 0: nothing
  virtual const std::string &state() const = 0;
};

}  // namespace catsbpf
