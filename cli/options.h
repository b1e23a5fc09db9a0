// SPDX-License-Identifier: Apache-2.0
// What every verb needs to know about where it asks: command line first, environment second, default last.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "cli/arguments.h"

namespace catsbpf::cli {

// The APIs that catsbpf speaks to.
enum class Api { agent, site, platform, ingress };

struct Options {
  std::string socket = "/run/catsbpf/catsbpfd.sock";
  std::string pins = "/sys/fs/bpf/catsbpf";
  std::string url;  // --url: for whichever API the verb asks
  std::string site_url, platform_url, ingress_url;
  std::string certificate, key, authority;  // PEM files
  std::string domain;                       // of the SPIFFE names
  std::string token;
  bool json = false;
  bool wide = false;  // never shorten a column

  // The URL for `api`, or a usage error that names the environment variable.
  Result<std::string> url_of(Api api) const;
};

std::span<const OptionSpec> global_options();

// `environment` is getenv in the program.
Options options_from(const Arguments &arguments, const std::function<const char *(const char *)> &environment);

}  // namespace catsbpf::cli
