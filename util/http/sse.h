// SPDX-License-Identifier: Apache-2.0
// The text/event-stream format (HTML living standard, section 9.2), both ways.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "util/http/client.h"

namespace catsbpf::http {

std::string format_event(const std::string &event, const std::string &id, const std::string &data);
std::string format_comment(const std::string &text);

// Takes the bytes as they come, gives whole events. Events without data are none, as the standard says.
class EventParser {
 public:
  static constexpr std::size_t kMaxEvent = 16 << 20;
  // False when an event grows beyond kMaxEvent: the stream is not to be read on.
  bool feed(std::string_view bytes, const std::function<void(Event)> &event);

 private:
  void line(const std::function<void(Event)> &event);
  std::string line_;
  bool after_cr_ = false;
  bool first_ = true;  // a byte order mark may stand there
  bool has_data_ = false;
  Event next_;
};

}  // namespace catsbpf::http
