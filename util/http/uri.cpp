// SPDX-License-Identifier: Apache-2.0
#include "util/http/uri.h"

namespace catsbpf::http {

namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string_view cut(std::string_view &text, char at) {
  const auto end = text.find(at);
  const auto part = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  return part;
}

}  // namespace

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
      const int low = high < 0 ? -1 : hex_digit(text[i + 2]);
      if (low < 0) return std::nullopt;
      c = static_cast<char>(high << 4 | low);
      i += 2;
    } else if (c == '+' && plus_is_space) {
      c = ' ';
    }
    if (c == '\0') return std::nullopt;
    decoded += c;
  }
  return decoded;
}

std::string percent_encode(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~';
    if (plain) {
      encoded += c;
    } else {
      encoded += '%';
      encoded += kHex[static_cast<unsigned char>(c) >> 4];
      encoded += kHex[static_cast<unsigned char>(c) & 15];
    }
  }
  return encoded;
}

Result<RequestTarget> parse_target(std::string_view target) {
  const Error broken{"request target is not a path", "write /v1/..., with %XX for special characters"};
  if (const auto scheme = target.find("://"); scheme != std::string_view::npos && target.starts_with("http")) {
    const auto path = target.find('/', scheme + 3);
    target = path == std::string_view::npos ? "/" : target.substr(path);
  }
  if (!target.starts_with('/')) return broken;
  RequestTarget result;
  std::string_view path = cut(target, '?');
  path.remove_prefix(1);
  while (!path.empty()) {
    auto segment = percent_decode(cut(path, '/'));
    if (!segment) return broken;
    result.path += "/" + *segment;
    result.segments.push_back(*std::move(segment));
  }
  if (result.path.empty()) result.path += '/';
  while (!target.empty()) {
    std::string_view pair = cut(target, '&');
    const auto key = percent_decode(cut(pair, '='), true);
    const auto value = percent_decode(pair, true);
    if (!key || !value) return broken;
    if (!key->empty()) result.query[*key] = *value;
  }
  return result;
}

Result<Url> parse_url(const std::string &url) {
  Url result;
  std::string rest;
  if (url.starts_with("unix:") || url.starts_with("/")) {
    result.scheme = Url::Scheme::kUnix;
    result.path = url.starts_with("/") ? url : url.substr(5);
    if (!result.path.starts_with("/"))
      return Error{"url '" + url + "' has no absolute path", "write unix:/run/catsbpf/catsbpfd.sock"};
    if (result.path.size() > 107) return Error{"path of the socket '" + result.path + "' is longer than 107 bytes"};
    return result;
  }
  if (url.starts_with("https://")) {
    result.scheme = Url::Scheme::kHttps;
    rest = url.substr(8);
  } else if (url.starts_with("http://")) {
    rest = url.substr(7);
  } else {
    return Error{"url '" + url + "' has no scheme that is known",
                 "write https://ADDRESS:PORT, http://ADDRESS:PORT or unix:/PATH"};
  }
  if (rest.ends_with("/")) rest.pop_back();
  auto address = parse_host_port(rest, result.scheme == Url::Scheme::kHttps ? 443 : 80);
  if (!address || rest.find_first_of("/@?# ") != std::string::npos)
    return Error{"url '" + url + "' is not SCHEME://ADDRESS:PORT", "write it without a path: https://10.0.0.1:8443"};
  result.address = *std::move(address);
  return result;
}

}  // namespace catsbpf::http
