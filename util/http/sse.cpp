// SPDX-License-Identifier: Apache-2.0
#include "util/http/sse.h"

#include <algorithm>

namespace catsbpf::http {

namespace {

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::replace(text.begin(), text.end(), '\r', ' ');
  return text;
}

}  // namespace

std::string format_event(const std::string &event, const std::string &id, const std::string &data) {
  std::string text;
  if (!event.empty()) text += "event: " + one_line(event) + "\n";
  if (!id.empty()) text += "id: " + one_line(id) + "\n";
  for (std::size_t from = 0; from <= data.size();) {
    const auto end = std::min(data.find('\n', from), data.size());
    text += "data: " + one_line(data.substr(from, end - from)) + "\n";
    from = end + 1;
  }
  return text + "\n";
}

std::string format_comment(const std::string &text) { return ": " + one_line(text) + "\n\n"; }

bool EventParser::feed(std::string_view bytes, const std::function<void(Event)> &event) {
  for (const char c : bytes) {
    if (c == '\n' && after_cr_) {
      after_cr_ = false;
      continue;
    }
    after_cr_ = c == '\r';
    if (c == '\n' || c == '\r') {
      line(event);
      line_.clear();
    } else {
      line_ += c;
      if (line_.size() + next_.data.size() > kMaxEvent) return false;
    }
  }
  return true;
}

void EventParser::line(const std::function<void(Event)> &event) {
  std::string_view text = line_;
  if (std::exchange(first_, false) && text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  if (text.empty()) {
    if (has_data_) event(next_);
    next_.name.clear();
    next_.data.clear();  // the id stays until another one comes
    has_data_ = false;
    return;
  }
  const auto colon = text.find(':');
  if (colon == 0) return;  // a comment
  const auto field = text.substr(0, colon);
  auto value = colon == std::string_view::npos ? std::string_view{} : text.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "event") {
    next_.name = value;
  } else if (field == "id" && value.find('\0') == std::string_view::npos) {
    next_.id = value;
  } else if (field == "data") {
    if (has_data_) next_.data += '\n';
    next_.data += value;
    has_data_ = true;
  }
}

}  // namespace catsbpf::http
