// SPDX-License-Identifier: Apache-2.0
// What a new flow meets before the ring, in the order of the data plane (bpf/place.h): bypass, then the session of
// a granted request. Comes in: what the ring, or a request, would decide. Goes out: the same, put right.
#pragma once

#include "agent/api/parts.h"
#include "cmas/proto/api.pb.h"

namespace catsbpf::agent {

// `explanation` has service, client ("": any) and what the selector decides. Needs dataplane, programmer, selector.
void what_comes_first(v1::Explanation &explanation, const Parts &parts);

}  // namespace catsbpf::agent
