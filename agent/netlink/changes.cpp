// SPDX-License-Identifier: Apache-2.0
#include "agent/netlink/changes.h"

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "util/log.h"

namespace catsbpf::agent {

namespace {

// Route changes come in bursts (a routing daemon): they are looked at together.
constexpr std::chrono::milliseconds kSettle{5};
constexpr int kReceiveBuffer = 1 << 20;

class KernelChanges final : public Changes {
 public:
  KernelChanges(boost::asio::io_context &io, std::chrono::milliseconds period, Matters matters,
                std::function<void()> look)
      : period_(period), matters_(std::move(matters)), look_(std::move(look)), events_(io), settle_(io), refresh_(io) {}
  ~KernelChanges() override;
  Result<> open(const std::vector<int> &groups);

 private:
  void wait_for_events();
  void read_events();
  void settle();
  void refresh();
  static int on_event(nl_msg *message, void *self);

  const std::chrono::milliseconds period_;
  const Matters matters_;
  const std::function<void()> look_;
  std::unique_ptr<nl_sock, decltype(&nl_socket_free)> socket_{nullptr, &nl_socket_free};
  boost::asio::posix::stream_descriptor events_;  // socket_'s descriptor, released before it closes
  boost::asio::steady_timer settle_, refresh_;
  bool settling_ = false, event_seen_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

KernelChanges::~KernelChanges() {
  *alive_ = false;
  if (events_.is_open()) events_.release();
}

Result<> KernelChanges::open(const std::vector<int> &groups) {
  socket_.reset(nl_socket_alloc());
  if (!socket_) return Error{"no memory for a netlink socket"};
  nl_socket_disable_seq_check(socket_.get());
  int error = nl_connect(socket_.get(), NETLINK_ROUTE);
  for (const int group : groups)
    if (error >= 0) error = nl_socket_add_memberships(socket_.get(), group, 0);
  if (error >= 0) error = nl_socket_set_nonblocking(socket_.get());
  if (error < 0) return Error{std::string("cannot follow route netlink: ") + nl_geterror(error)};
  nl_socket_set_buffer_size(socket_.get(), kReceiveBuffer, 0);  // best effort
  nl_socket_modify_cb(socket_.get(), NL_CB_VALID, NL_CB_CUSTOM, on_event, this);
  boost::system::error_code assigned;
  events_.assign(nl_socket_get_fd(socket_.get()), assigned);
  if (assigned) return Error{"cannot watch route netlink: " + assigned.message()};
  wait_for_events();
  refresh();
  return done();
}

void KernelChanges::wait_for_events() {
  events_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                     [this, alive = alive_](const boost::system::error_code &error) {
                       if (error || !*alive) return;
                       read_events();
                       wait_for_events();
                     });
}

int KernelChanges::on_event(nl_msg *message, void *self) {
  auto *changes = static_cast<KernelChanges *>(self);
  if (!changes->event_seen_ && changes->matters_(nlmsg_hdr(message))) changes->event_seen_ = true;
  return NL_OK;
}

void KernelChanges::read_events() {
  event_seen_ = false;
  // One call reads one datagram; the bound keeps a storm from starving the loop.
  for (int datagram = 0; datagram < 256; ++datagram) {
    const int result = nl_recvmsgs_default(socket_.get());
    if (result == -NLE_AGAIN) break;
    if (result < 0) {  // ENOBUFS: events were lost
      log::debug("route netlink: {}: looking at everything anew", nl_geterror(result));
      event_seen_ = true;
      break;
    }
  }
  if (event_seen_) settle();
}

void KernelChanges::settle() {
  if (std::exchange(settling_, true)) return;
  settle_.expires_after(kSettle);
  settle_.async_wait([this, alive = alive_](const boost::system::error_code &error) {
    if (error || !*alive) return;
    settling_ = false;
    look_();
  });
}

void KernelChanges::refresh() {
  refresh_.expires_after(period_);
  refresh_.async_wait([this, alive = alive_](const boost::system::error_code &error) {
    if (error || !*alive) return;
    refresh();
    look_();
  });
}

}  // namespace

Result<std::unique_ptr<Changes>> Changes::open(boost::asio::io_context &io, const std::vector<int> &groups,
                                               std::chrono::milliseconds period, Matters matters,
                                               std::function<void()> look) {
  auto changes = std::make_unique<KernelChanges>(io, period, std::move(matters), std::move(look));
  if (auto opened = changes->open(groups); !opened) return opened.error();
  return std::unique_ptr<Changes>(std::move(changes));
}

Result<std::unique_ptr<Changes>> Changes::of_links(boost::asio::io_context &io, std::vector<std::string> names,
                                                   std::chrono::milliseconds period, std::function<void()> look) {
  const auto matters = [names = std::move(names)](nlmsghdr *header) {
    if (header->nlmsg_type == RTM_NEWADDR || header->nlmsg_type == RTM_DELADDR) return true;
    const auto known = [&](const char *name) {
      return name && std::find(names.begin(), names.end(), name) != names.end();
    };
    const nlattr *name = nlmsg_find_attr(header, sizeof(ifinfomsg), IFLA_IFNAME);
    const nlattr *lower = nlmsg_find_attr(header, sizeof(ifinfomsg), IFLA_LINK);
    char lower_name[IF_NAMESIZE];
    return known(name ? nla_get_string(name) : nullptr) ||
           (lower && known(if_indextoname(nla_get_u32(lower), lower_name)));
  };
  return open(io, {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR}, period, matters, std::move(look));
}

}  // namespace catsbpf::agent
