// SPDX-License-Identifier: Apache-2.0
// Connections that have not opened a session yet: few, and few of each source, so that nobody without a
// certificate keeps a C-SMA out. In: who came from where, who proved to be whom. Out: who must go.
#pragma once

#include <boost/asio/ip/address.hpp>

#include <list>
#include <map>
#include <memory>
#include <string>

#include "agent/session/connection.h"

namespace catsbpf::agent {

class Strangers {
 public:
  Strangers(std::size_t most, std::size_t most_per_source) : most_(most), most_per_source_(most_per_source) {}

  // What one host can choose its address from counts as one: an IPv4 address, an IPv6 /64.
  static std::string source_of(const boost::asio::ip::address &address);

  // Takes the newcomer in, and gives the one to be closed for it, if any (it is forgotten here): the oldest of
  // its own source when that has too many, else the oldest of the source with the most. Sources of C-SMAs are
  // spared while there are others, so that the newcomer itself may be the one.
  std::shared_ptr<Connection> admit(const std::shared_ptr<Connection> &newcomer, const std::string &source);
  // The certificate is that of C-SMA `name`: its source is remembered, over sessions, until it comes from another.
  void proved(const std::shared_ptr<Connection> &connection, const std::string &name);
  void forget(const std::shared_ptr<Connection> &connection);

  template <class Visit>
  void each(Visit visit) const {
    for (const auto &stranger : all_) visit(stranger.connection);
  }

 private:
  struct Stranger {
    std::shared_ptr<Connection> connection;
    std::string source;
    bool proved = false;
  };
  std::size_t agents_at(const std::string &source) const;
  std::string fullest(bool agents_too) const;  // "": none
  std::shared_ptr<Connection> remove_oldest(const std::string &source);

  std::size_t most_, most_per_source_;
  std::list<Stranger> all_;                     // oldest first
  std::map<std::string, std::string> sources_;  // C-SMA -> where it last came from
};

}  // namespace catsbpf::agent
