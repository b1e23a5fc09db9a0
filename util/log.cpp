// SPDX-License-Identifier: Apache-2.0
#include "util/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <memory>

namespace catsbpf::log {

namespace {

constexpr std::size_t kMostBytes = 8192;

class Message final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg &message, const std::tm &, spdlog::memory_buf_t &line) override {
    const std::string text = one_event({message.payload.data(), message.payload.size()});
    line.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<Message>(); }
};

}  // namespace

std::string one_event(std::string_view message) {
  std::string text;
  for (const char c : message.substr(0, kMostBytes)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n')
      text += "\n    ";
    else
      text += byte < 0x20 || byte == 0x7f ? '?' : c;
  }
  if (message.size() > kMostBytes) text += "... (" + std::to_string(message.size()) + " bytes)";
  return text;
}

Result<> set_up(const std::string &program, const std::string &level) {
  const auto wanted = spdlog::level::from_str(level == "warning" ? "warn" : level);
  if (wanted == spdlog::level::off && level != "off")
    return Error{"unknown log level '" + level + "'", "use debug, info, warn or error"};
  auto logger = std::make_shared<spdlog::logger>(program, std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_level(wanted);
  // Under systemd (JOURNAL_STREAM) the journal has the time.
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<Message>('*').set_pattern(std::getenv("JOURNAL_STREAM") ? "%l: %*"
                                                                              : "%Y-%m-%dT%H:%M:%S.%e %n %l: %*");
  logger->set_formatter(std::move(formatter));
  logger->flush_on(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
  return done();
}

}  // namespace catsbpf::log
