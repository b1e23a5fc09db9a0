// SPDX-License-Identifier: Apache-2.0
#include "cmas/platform/config.h"

#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <set>

#include "cmas/platform/yaml_file.h"
#include "util/endpoint.h"
#include "util/file.h"
#include "util/tls/identity.h"

namespace catsbpf::cmas {

namespace {

constexpr std::size_t kShortestToken = 16;

std::string absolute(const std::string &folder_of, const std::string &path) {
  if (path.empty()) return path;
  return (std::filesystem::absolute(folder_of).parent_path() / path).lexically_normal().string();
}

void check_tls(const v1::PlatformConfig &config, YamlFile &file) {
  const auto &tls = config.tls();
  bool complete = true;
  for (const auto &[name, value] :
       {std::pair{"domain", tls.domain()}, {"certificate", tls.certificate()}, {"key", tls.key()}}) {
    if (!value.empty()) continue;
    file.problem(std::string("tls.") + name, "is missing");
    complete = false;
  }
  if (!complete) return;
  if (auto context = tls::server_context({tls.certificate(), tls.key(), ""}, tls::PeerCertificate::kNone); !context)
    return file.problem("tls", context.error().what, context.error().hint);
  const auto identity = tls::identity_of_file(tls.certificate());
  if (!identity) return file.problem("tls.certificate", identity.error().what, identity.error().hint);
  if (auto good = tls::accepts({tls.domain(), "platform", {}}, *identity); !good)
    file.problem("tls.certificate", good.error().what, "agents would refuse it");
}

std::optional<std::string> read_token(const std::string &path, YamlFile &file) {
  struct stat status {};
  const auto text = read_file(path);
  if (!text || ::stat(path.c_str(), &status) != 0) {
    file.problem("write_token_file", path + ": " + (text ? std::strerror(errno) : text.error().what));
    return std::nullopt;
  }
  std::string token = text->substr(0, text->find('\n'));
  while (!token.empty() && (token.back() == '\r' || token.back() == ' ')) token.pop_back();
  if (status.st_mode & 0007) file.problem("write_token_file", path + " can be read by everyone", "chmod 600 " + path);
  if (token.size() < kShortestToken)
    file.problem("write_token_file", "the token has fewer than 16 characters", "openssl rand -hex 16 > " + path);
  return token;
}

}  // namespace

Result<PlatformSettings> load_config(const std::string &path) {
  YamlFile file(path);
  PlatformSettings settings;
  auto &config = settings.file;
  file.read(config);
  if (!file.ok() && file.line_of("listen") == 0 && file.line_of("database") == 0)
    return file.error();  // nothing was read

  if (config.listen().empty()) {
    file.problem("listen", "is missing", "write 127.0.0.1:8443");
  } else if (!config.listen().starts_with("/")) {
    if (const auto endpoint = parse_endpoint(config.listen()); !endpoint)
      file.problem("listen", endpoint.error().what, endpoint.error().hint);
  }
  if (config.database().empty())
    file.problem("database", "is missing", "name a file: /var/lib/cats-platformd/platform.db");
  config.set_database(absolute(path, config.database()));
  config.set_catalogue(absolute(path, config.catalogue()));
  config.set_write_token_file(absolute(path, config.write_token_file()));
  if (config.has_tls()) {
    auto &tls = *config.mutable_tls();
    tls.set_certificate(absolute(path, tls.certificate()));
    tls.set_key(absolute(path, tls.key()));
    tls.set_authority(absolute(path, tls.authority()));
    check_tls(config, file);
  }
  if (!config.write_token_file().empty()) settings.write_token = read_token(config.write_token_file(), file);
  if (config.log_level().empty()) config.set_log_level("info");
  static const std::set<std::string> kLevels{"debug", "info", "warn", "error"};
  if (!kLevels.contains(config.log_level()))
    file.problem("log_level", "'" + config.log_level() + "' is not known", "use debug, info, warn or error");
  if (!file.ok()) return file.error();
  return settings;
}

}  // namespace catsbpf::cmas
