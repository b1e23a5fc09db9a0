// SPDX-License-Identifier: Apache-2.0
// Why the kernel refused our programs: which feature is missing, and which kernel has it.
#pragma once

#include <span>
#include <string>

#include "util/result.h"

namespace catsbpf::agent {

struct Feature {
  const char *name;
  const char *kernel;  // first release that has it
  bool (*present)();
};
std::span<const Feature> needed_features();

// An Error for a refused load: names the missing features, else what libbpf said. Probes only now, since
// a kernel that loads the programs has all of them.
Error explain_refusal(int code, const std::string &libbpf_said, std::span<const Feature> features);

// Keeps what libbpf warns about out of the way (debug log) and at hand.
void collect_libbpf_messages();
std::string take_libbpf_messages();  // of warnings since the last call; first lines only

}  // namespace catsbpf::agent
