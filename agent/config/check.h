// SPDX-License-Identifier: Apache-2.0
// What must hold between the fields: what each role needs, names that must differ, certificates that
// fit. Comes in: a Config whose fields were read. Goes out: problems.
#pragma once

#include "agent/config/config.h"
#include "agent/config/problems.h"

namespace catsbpf::agent {

void check(Config &config, Problems &problems);

}  // namespace catsbpf::agent
