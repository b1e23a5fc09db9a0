// SPDX-License-Identifier: Apache-2.0
// HTTP messages on a Transport: Beast parses, we format. Used by server and client.
#pragma once

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <map>
#include <string>

#include "util/http/transport.h"

namespace catsbpf::http {

using RequestParser = boost::beast::http::request_parser<boost::beast::http::string_body>;
using ResponseParser = boost::beast::http::response_parser<boost::beast::http::string_body>;

enum class Until { kHeader, kSomeBody, kEnd };

// Of request or status line and all fields together. Beast's own limit starts anew at each part that it takes.
constexpr std::size_t kMaxHeader = 16384;

// Reads until the header, at least a part more of the body, or the whole message is parsed. end_of_stream: the
// peer closed before the first byte.
template <class Parser>
boost::asio::awaitable<boost::system::error_code> read(Transport &transport, boost::beast::flat_buffer &buffer,
                                                       Parser &parser, Until until) {
  namespace http = boost::beast::http;
  std::size_t header = 0;
  for (;;) {
    boost::system::error_code error;
    const bool at_goal = until == Until::kHeader ? parser.is_header_done() : parser.is_done();
    if (at_goal) co_return error;
    if (buffer.size() > 0) {
      const std::size_t taken = parser.put(buffer.data(), error);
      buffer.consume(taken);
      if (until == Until::kHeader) header += taken;
      if (header > kMaxHeader) co_return http::error::header_limit;
      if (error && error != http::error::need_more) co_return error;
      if (until == Until::kSomeBody && !parser.get().body().empty()) co_return boost::system::error_code{};
      if (!error) continue;
    }
    error = co_await transport.read_some(buffer);
    if (error == boost::asio::error::eof) {
      error = {};
      if (!parser.got_some()) co_return http::error::end_of_stream;
      parser.put_eof(error);
      if (!error && parser.is_done()) continue;
      co_return error ? error : make_error_code(http::error::partial_message);
    }
    if (error) co_return error;
  }
}

// All header fields with names in lower case; repeated ones are joined by ", ".
template <class Fields>
std::map<std::string, std::string> header_map(const Fields &fields) {
  std::map<std::string, std::string> headers;
  for (const auto &field : fields) {
    std::string name(field.name_string());
    for (char &c : name)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    auto &value = headers[name];
    value += (value.empty() ? "" : ", ") + std::string(field.value());
  }
  return headers;
}

// "Name: value\r\n", on one line whatever is in them.
std::string header_line(const std::string &name, const std::string &value);

}  // namespace catsbpf::http
