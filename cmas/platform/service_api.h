// SPDX-License-Identifier: Apache-2.0
// The platform's HTTP API: from requests to the registry, and from its changes to the watchers' event streams.
//   GET /v1/services[?search=WORDS]   ServiceCatalogue, ETag: the registry's revision
//   GET /v1/services/ID               Service (ID: Service ID or CS-ID), ETag: its revision
//   PUT, DELETE /v1/services/ID       with If-Match: only where it is still at that revision
//   GET /v1/services/watch[?since=R]  server-sent events (or Last-Event-ID: R): "put" and "remove" with a
//   ServiceChange,
//                                     id: its revision. Without R, or where the log does not reach back to R, all
//                                     services come first, then "snapshot end".
#pragma once

#include <boost/asio/io_context.hpp>

#include <memory>
#include <optional>
#include <string>

#include "cmas/platform/registry.h"
#include "util/http/server.h"

namespace catsbpf::cmas {

struct ServiceApiOptions {
  // Writers show it as `Authorization: Bearer TOKEN`; empty: writers must come from this host.
  std::optional<std::string> write_token{};
};

// Adds the routes to the server. The registry must outlive the server. Changes made by other programs in the same
// file are seen within a second.
void add_service_api(boost::asio::io_context &io, http::Server &server, Registry &registry, ServiceApiOptions options);

}  // namespace catsbpf::cmas
