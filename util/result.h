// SPDX-License-Identifier: Apache-2.0
// Result<T>: a value or an Error, that cannot be ignored. catsbpf throws no exceptions of its own;
// library exceptions stop at the file that called the library and become an Error there.
#pragma once

#include <cstring>
#include <string>
#include <utility>
#include <variant>

namespace catsbpf {

// What failed, on which object, why (lower case, no full stop), and what to do about it.
// `code` is an errno value where one is known, else 0.
struct Error {
  std::string what;
  std::string hint{};
  int code = 0;

  // "what\nhint: hint", as shown to people.
  std::string text() const { return hint.empty() ? what : what + "\nhint: " + hint; }
};

// An Error for a failed system call: "WHAT: STRERROR(code)".
inline Error system_error(const std::string &what, int code, std::string hint = {}) {
  return Error{what + ": " + std::strerror(code), std::move(hint), code};
}

template <class T = std::monostate>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // Call only after ok().
  T &value() & { return std::get<0>(state_); }
  const T &value() const & { return std::get<0>(state_); }
  T &&value() && { return std::get<0>(std::move(state_)); }
  T &operator*() & { return value(); }
  const T &operator*() const & { return value(); }
  T &&operator*() && { return std::move(*this).value(); }
  T *operator->() { return &value(); }
  const T *operator->() const { return &value(); }

  // Call only after !ok().
  const Error &error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

// The value of a Result<> that holds none: `return done();`
inline Result<> done() { return Result<>{std::monostate{}}; }

}  // namespace catsbpf
