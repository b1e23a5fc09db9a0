// SPDX-License-Identifier: Apache-2.0
// HTTP's words for our errors, and numbers out of a URL.
#pragma once

#include <cerrno>
#include <charconv>
#include <optional>

#include "util/http/server.h"

namespace catsbpf::agent {

inline int http_status(const Error &error) {
  switch (error.code) {
    case EINVAL: return 400;
    case EPERM: return 403;
    case ENOENT: return 404;
    case EBUSY: return 409;
    case EAGAIN: return 503;
    default: return 500;
  }
}

inline http::Response refusal(const Error &error) { return http::failure(http_status(error), error); }

template <class T>
Result<T> number_in(const std::string &text, const std::string &field) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size())
    return Error{field + ": '" + text + "' is not a number of that kind",
                 std::is_floating_point_v<T> ? "a decimal number" : "a whole number from 0 up, not too large", EINVAL};
  return value;
}

}  // namespace catsbpf::agent
