// SPDX-License-Identifier: Apache-2.0
// Next hops from the kernel. Events of links, routes and neighbours only say *that* something changed; what
// is true is then asked for anew, so a lost event (ENOBUFS) costs one more round of questions and nothing else.
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <map>
#include <vector>

#include "agent/netlink/changes.h"
#include "agent/netlink/query.h"
#include "util/log.h"

namespace catsbpf::agent {

namespace {

// A safety net under the events, and the repetition that neighbours need where the kernel cannot manage them.
constexpr std::chrono::seconds kRefresh{5};

class KernelNextHops final : public NextHops {
 public:
  KernelNextHops(boost::asio::io_context &io, NetlinkQuery query) : io_(io), query_(std::move(query)) {}
  ~KernelNextHops() override { *alive_ = false; }

  Result<> open();
  Result<uint64_t> watch(const std::string &address, Callback callback) override;
  void unwatch(uint64_t id) override;
  void on_told(std::function<void()> callback) override { told_ = std::move(callback); }

 private:
  struct Watch {
    IpAddress address;
    Callback callback;
    bool told = false;
    NextHop hop;
    uint32_t kept_ifindex = 0;  // neighbour that we asked the kernel to keep
    IpAddress kept;
  };
  Result<NextHop> resolve(Watch &watch);
  void keep(Watch &watch, uint32_t ifindex, const IpAddress &neighbour);
  bool kept_by_other(const Watch &watch) const;
  void look_at_all();
  void look(const std::vector<uint64_t> &ids);
  bool matters(nlmsghdr *header) const;

  boost::asio::io_context &io_;
  NetlinkQuery query_;
  std::map<uint64_t, Watch> watches_;
  uint64_t next_id_ = 1;
  std::function<void()> told_ = [] {};
  std::vector<uint64_t> new_;  // not looked at yet
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::unique_ptr<Changes> changes_;
};

Result<> KernelNextHops::open() {
  auto changes = Changes::open(
      io_,
      {RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR},
      kRefresh, [this](nlmsghdr *header) { return matters(header); }, [this] { look_at_all(); });
  if (!changes) return changes.error();
  changes_ = std::move(*changes);
  return done();
}

Result<uint64_t> KernelNextHops::watch(const std::string &address, Callback callback) {
  const auto parsed = parse_ip(address);
  if (!parsed) return Error{"'" + address + "' is no address to find a next hop for"};
  const uint64_t id = next_id_++;
  watches_[id] = Watch{*parsed, std::move(callback), false, {}, 0, {}};
  if (new_.empty())
    boost::asio::post(io_, [this, alive = alive_] {
      if (*alive) look(std::exchange(new_, {}));
    });
  new_.push_back(id);
  return id;
}

void KernelNextHops::unwatch(uint64_t id) {
  auto it = watches_.find(id);
  if (it == watches_.end()) return;
  Watch gone = std::move(it->second);
  watches_.erase(it);
  if (gone.kept_ifindex && !kept_by_other(gone)) query_.let_go(gone.kept_ifindex, gone.kept);
}

bool KernelNextHops::kept_by_other(const Watch &watch) const {
  return std::any_of(watches_.begin(), watches_.end(), [&](const auto &entry) {
    return &entry.second != &watch && entry.second.kept_ifindex == watch.kept_ifindex &&
           entry.second.kept == watch.kept;
  });
}

void KernelNextHops::keep(Watch &watch, uint32_t ifindex, const IpAddress &neighbour) {
  if (watch.kept_ifindex == ifindex && watch.kept == neighbour) return;
  if (watch.kept_ifindex && !kept_by_other(watch)) query_.let_go(watch.kept_ifindex, watch.kept);
  watch.kept_ifindex = ifindex;
  watch.kept = neighbour;
  if (auto kept = query_.keep_resolved(ifindex, neighbour); !kept) log::warn("{}", kept.error().what);
}

Result<NextHop> KernelNextHops::resolve(Watch &watch) {
  NextHop hop;
  const auto found_route = query_.route(watch.address);
  if (!found_route) return found_route.error();
  const auto &route = *found_route;
  if (!route) return hop;
  const auto found_link = query_.link(route->ifindex);
  if (!found_link) return found_link.error();
  const auto &link = *found_link;
  if (!link || !link->up || !link->running) return hop;
  hop.routed = true;
  hop.ifindex = route->ifindex;
  hop.interface = link->name;
  hop.gateway = format_ip(route->gateway);
  hop.mtu = route->mtu ? std::min(route->mtu, link->mtu) : link->mtu;
  hop.source_mac = link->mac;
  const IpAddress &neighbour = route->gateway.bytes.empty() ? watch.address : route->gateway;
  keep(watch, route->ifindex, neighbour);
  const auto found = query_.neighbour(route->ifindex, neighbour);
  if (found && found->valid) {
    hop.resolved = true;
    hop.mac = found->mac;
  } else {
    // The kernel goes on asking: what has failed once is back when it answers, not when it is asked again.
    const bool same_way = watch.hop.ifindex == hop.ifindex && watch.hop.gateway == hop.gateway;
    hop.failed = (found && found->failed) || (same_way && watch.hop.failed);
  }
  if (!found || !(found->fixed || query_.manages())) {
    // Somebody flushed the neighbour table and what we asked for with it, or we must repeat it.
    if (auto kept = query_.keep_resolved(route->ifindex, neighbour); !kept) log::debug("{}", kept.error().what);
  }
  return hop;
}

// First all that is asked, then all that is said: two paths by one interface change together.
void KernelNextHops::look(const std::vector<uint64_t> &ids) {
  std::vector<uint64_t> news;
  for (const uint64_t id : ids) {
    const auto found = watches_.find(id);
    if (found == watches_.end()) continue;
    Watch &watch = found->second;
    const auto resolved = resolve(watch);
    if (!resolved) {  // what was true stays until the next look
      log::warn("{}", resolved.error().what);
      continue;
    }
    if (std::exchange(watch.told, true) && *resolved == watch.hop) continue;
    watch.hop = *resolved;
    news.push_back(id);
  }
  for (const uint64_t id : news) {
    const auto watch = watches_.find(id);
    if (watch == watches_.end()) continue;  // a callback before this one unwatched it
    const Watch said = watch->second;       // it may unwatch itself
    said.callback(said.hop);
  }
  if (!news.empty()) told_();
}

void KernelNextHops::look_at_all() {
  std::vector<uint64_t> ids;
  for (const auto &[id, watch] : watches_) ids.push_back(id);
  look(ids);
}

// Neighbours of no interest are the many; the rest is rare.
bool KernelNextHops::matters(nlmsghdr *header) const {
  if (header->nlmsg_type != RTM_NEWNEIGH && header->nlmsg_type != RTM_DELNEIGH) return true;
  const nlattr *destination = nlmsg_find_attr(header, sizeof(ndmsg), NDA_DST);
  if (!destination) return false;
  const auto *data = static_cast<const uint8_t *>(nla_data(destination));
  const IpAddress address{{data, data + nla_len(destination)}};
  return std::any_of(watches_.begin(), watches_.end(), [&](const auto &entry) {
    return entry.second.kept == address || entry.second.address == address;
  });
}

}  // namespace

Result<std::unique_ptr<NextHops>> open_kernel_next_hops(boost::asio::io_context &io, bool manages) {
  auto query = NetlinkQuery::open(manages);
  if (!query) return query.error();
  auto hops = std::make_unique<KernelNextHops>(io, std::move(*query));
  if (auto opened = hops->open(); !opened) return opened.error();
  return std::unique_ptr<NextHops>(std::move(hops));
}

}  // namespace catsbpf::agent
