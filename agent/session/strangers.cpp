// SPDX-License-Identifier: Apache-2.0
#include "agent/session/strangers.h"

#include <algorithm>

namespace catsbpf::agent {

std::string Strangers::source_of(const boost::asio::ip::address &address) {
  if (address.is_v4()) return address.to_string();
  const auto v6 = address.to_v6();
  if (v6.is_v4_mapped()) return boost::asio::ip::make_address_v4(boost::asio::ip::v4_mapped, v6).to_string();
  auto bytes = v6.to_bytes();
  std::fill(bytes.begin() + 8, bytes.end(), 0);
  return boost::asio::ip::address_v6(bytes).to_string() + "/64";
}

std::shared_ptr<Connection> Strangers::admit(const std::shared_ptr<Connection> &newcomer, const std::string &source) {
  const auto here =
      static_cast<std::size_t>(std::ranges::count_if(all_, [&](const auto &s) { return s.source == source; }));
  const std::size_t agents = agents_at(source);
  std::shared_ptr<Connection> leaves;
  // C-SMAs behind one address may all come back at the same moment.
  if (here >= most_per_source_ + agents) {
    leaves = remove_oldest(source);
  } else if (all_.size() >= most_) {
    const std::string victim = fullest(agents > 0);
    if (victim.empty()) return newcomer;
    leaves = remove_oldest(victim);
  }
  all_.push_back({newcomer, source});
  return leaves;
}

void Strangers::proved(const std::shared_ptr<Connection> &connection, const std::string &name) {
  for (auto &stranger : all_) {
    if (stranger.connection != connection) continue;
    stranger.proved = true;
    sources_[name] = stranger.source;
  }
}

void Strangers::forget(const std::shared_ptr<Connection> &connection) {
  std::erase_if(all_, [&](const auto &stranger) { return stranger.connection == connection; });
}

std::size_t Strangers::agents_at(const std::string &source) const {
  return static_cast<std::size_t>(
      std::ranges::count_if(sources_, [&](const auto &entry) { return entry.second == source; }));
}

std::string Strangers::fullest(bool agents_too) const {
  std::map<std::string, std::size_t> counts;
  for (const auto &stranger : all_) ++counts[stranger.source];
  const auto pick = [&](bool of_agents) {
    std::string most;
    for (const auto &stranger : all_)  // of equals the one that came first
      if ((agents_at(stranger.source) > 0) == of_agents && (most.empty() || counts[stranger.source] > counts[most]))
        most = stranger.source;
    return most;
  };
  const std::string other = pick(false);
  return other.empty() && agents_too ? pick(true) : other;
}

std::shared_ptr<Connection> Strangers::remove_oldest(const std::string &source) {
  const auto oldest = [&](bool proved) {
    return std::ranges::find_if(all_, [&](const auto &s) { return s.source == source && s.proved == proved; });
  };
  auto found = oldest(false);
  if (found == all_.end()) found = oldest(true);
  auto connection = found->connection;
  all_.erase(found);
  return connection;
}

}  // namespace catsbpf::agent
