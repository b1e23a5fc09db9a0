// SPDX-License-Identifier: Apache-2.0
// The request API of an ingress (CMAS section 6), for clients: HTTPS with the server's certificate only,
// limited per source, with an optional bearer token. The client is the address that the ingress sees.
//
// POST /v1/requests           ServiceRequest -> 201 Acknowledgement with Location; nobody has it: 409 RequestRefusal
// GET, PUT, DELETE /v1/requests/ID   state, renewal (Renewal or no body), finish; from the same address only
#pragma once

#include <boost/asio/io_context.hpp>

#include <memory>
#include <string>

#include "agent/selector/request_desk.h"
#include "util/tls/identity.h"

namespace catsbpf::agent {

struct RequestApiOptions {
  std::string listen;
  tls::Files tls;
  uint32_t rate_per_source = 20;  // per second
  std::string token;              // "" : none asked
};

class RequestApi {
 public:
  // `desk` outlives the API. Fails naming the address or the TLS file.
  static Result<std::unique_ptr<RequestApi>> open(boost::asio::io_context &io, RequestApiOptions options,
                                                  RequestDesk &desk);
  virtual ~RequestApi() = default;
  virtual void set_limits(uint32_t rate_per_source, const std::string &token) = 0;  // reload
  virtual std::string endpoint() const = 0;                                         // where it listens (port 0: which)
  virtual void stop() = 0;
};

}  // namespace catsbpf::agent
