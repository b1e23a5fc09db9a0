// SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

namespace catsbpf::cli {

namespace {

constexpr OptionSpec kGlobal[] = {
    {"json", nullptr, "print the value as JSON, raw numbers"},
    {"wide", nullptr, "never shorten a column"},
    {"socket", "FILE", "the agent's operator socket (CATSBPF_SOCKET)"},
    {"pins", "DIR", "directory of the pinned maps (CATSBPF_PINS)"},
    {"url", "URL", "address of the API asked (CATSBPF_SITE_URL, CATSBPF_PLATFORM_URL, CATSBPF_INGRESS_URL)"},
    {"certificate", "FILE", "our certificate, PEM (CATSBPF_CERTIFICATE)"},
    {"key", "FILE", "its key (CATSBPF_KEY)"},
    {"authority", "FILE", "certificate of the authority (CATSBPF_AUTHORITY)"},
    {"domain", "NAME", "trust domain of the server (CATSBPF_DOMAIN)"},
    {"token", "TEXT", "bearer token for platform and requests (CATSBPF_TOKEN)"},
};

// Where a text option is kept, and which variable of the environment gives it.
struct Source {
  const char *option, *variable;
  std::string Options::*field;
};
constexpr Source kSources[] = {
    {"socket", "CATSBPF_SOCKET", &Options::socket},
    {"pins", "CATSBPF_PINS", &Options::pins},
    {"url", nullptr, &Options::url},
    {nullptr, "CATSBPF_SITE_URL", &Options::site_url},
    {nullptr, "CATSBPF_PLATFORM_URL", &Options::platform_url},
    {nullptr, "CATSBPF_INGRESS_URL", &Options::ingress_url},
    {"certificate", "CATSBPF_CERTIFICATE", &Options::certificate},
    {"key", "CATSBPF_KEY", &Options::key},
    {"authority", "CATSBPF_AUTHORITY", &Options::authority},
    {"domain", "CATSBPF_DOMAIN", &Options::domain},
    {"token", "CATSBPF_TOKEN", &Options::token},
};

}  // namespace

std::span<const OptionSpec> global_options() { return kGlobal; }

Options options_from(const Arguments &arguments, const std::function<const char *(const char *)> &environment) {
  Options options;
  for (const auto &source : kSources) {
    if (const char *value = source.variable ? environment(source.variable) : nullptr; value && *value)
      options.*source.field = value;
    if (const auto given = source.option ? arguments.text(source.option) : std::nullopt) options.*source.field = *given;
  }
  options.json = arguments.has("json");
  options.wide = arguments.has("wide");
  return options;
}

Result<std::string> Options::url_of(Api api) const {
  if (api == Api::agent) return "unix:" + socket;
  if (!url.empty()) return url;
  struct Known {
    const std::string &url;
    const char *what, *variable;
  };
  const Known known = api == Api::site       ? Known{site_url, "site API", "CATSBPF_SITE_URL"}
                      : api == Api::platform ? Known{platform_url, "platform", "CATSBPF_PLATFORM_URL"}
                                             : Known{ingress_url, "ingress", "CATSBPF_INGRESS_URL"};
  if (!known.url.empty()) return known.url;
  return usage_error(std::string("the address of the ") + known.what + " is not known",
                     std::string("give --url https://ADDRESS:PORT or set ") + known.variable);
}

}  // namespace catsbpf::cli
