// SPDX-License-Identifier: Apache-2.0
#include "util/log.h"

#include <spdlog/sinks/stdout_sinks.h>

namespace catsbpf::log {

Result<> set_up(const std::string &program, const std::string &level) {
  const auto wanted = spdlog::level::from_str(level == "warning" ? "warn" : level);
  if (wanted == spdlog::level::off && level != "off")
    return Error{"unknown log level '" + level + "'", "use debug, info, warn or error"};
  auto logger = std::make_shared<spdlog::logger>(program, std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_level(wanted);
  // Under systemd (JOURNAL_STREAM) the journal has the time.
  logger->set_pattern(std::getenv("JOURNAL_STREAM") ? "%l: %v" : "%Y-%m-%dT%H:%M:%S.%e %n %l: %v");
  logger->flush_on(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
  return done();
}

}  // namespace catsbpf::log
