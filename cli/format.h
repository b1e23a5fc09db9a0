// SPDX-License-Identifier: Apache-2.0
// Numbers and names as people read them. In: raw values. Out: short text, SI units, never a control
// character. JSON output never passes here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace catsbpf::cli {

std::string si(uint64_t value);                                // 9999, 12.3k, 4.57M
std::string slots(int64_t gas);                                // as si; "-" below 0
std::string counted(uint64_t value, const std::string &noun);  // "1 packet", "0 packets"
std::string bytes(uint64_t value);                             // "812 B", "12.3 kB"
std::string duration(double seconds);                          // "0.25s", "95s", "12m", "3h05m", "2d04h"; "-" below 0
std::string milliseconds(double value);                        // "0.25", "25.1", "1234"; "-" below 0
std::string mbps(double value);                                // megabit per second: "0", "12.3", "1000", "-" below 0
std::string percent(double fraction);                          // "33.3%"; "-" below 0
std::string fixed(double value, int decimals);                 // so many digits after the point
// After the point, for all of a column alike: the least one has three digits, whole numbers alone have none.
int decimals_of(const std::vector<double> &column);
std::string decimal(double value, int digits = 6);                // shortest of at most so many digits
std::string endpoint(const std::string &address, uint32_t port);  // "10.1.0.2:80", "[fd00::1]:80"
std::string printable(std::string_view text);                     // control characters become '?'
std::size_t width(std::string_view utf8);                         // in columns, one per code point
std::string or_dash(const std::string &text);                     // "-" for nothing

// The name that people use: the Service ID, or "CS-ID 7" where only the maps were asked.
std::string service_label(const std::string &service_id, uint32_t cs_id);

}  // namespace catsbpf::cli
