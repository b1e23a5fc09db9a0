// SPDX-License-Identifier: Apache-2.0
#include "agent/netlink/query.h"

#include <arpa/inet.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>

#include <algorithm>
#include <functional>

namespace catsbpf::agent {

namespace {

constexpr uint16_t kValid = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP;

struct FreeMessage {
  void operator()(nl_msg *message) const { nlmsg_free(message); }
};
using Message = std::unique_ptr<nl_msg, FreeMessage>;

template <class Header>
Message make_message(int type, int flags, Header header) {
  Message message(nlmsg_alloc_simple(type, flags));
  if (message && nlmsg_append(message.get(), &header, sizeof header, NLMSG_ALIGNTO) != 0) message.reset();
  return message;
}

using Attributes = std::array<nlattr *, 64>;
template <class Header>
bool parse(nlmsghdr *message, Attributes &attributes) {
  attributes.fill(nullptr);
  return nlmsg_parse(message, sizeof(Header), attributes.data(), attributes.size() - 1, nullptr) == 0;
}

IpAddress address_of(const nlattr *attribute) {
  const auto *data = static_cast<const uint8_t *>(nla_data(attribute));
  return {{data, data + nla_len(attribute)}};
}

void mac_of(const nlattr *attribute, MacAddress &mac) {
  if (static_cast<size_t>(nla_len(attribute)) == mac.size())
    std::copy_n(static_cast<const uint8_t *>(nla_data(attribute)), mac.size(), mac.begin());
}

// Sends, and hands the first answer of type `type` to `take`. Negative: the kernel's refusal.
int ask(nl_sock *socket, nl_msg *message, uint16_t type, const std::function<void(nlmsghdr *)> &take) {
  struct Context {
    uint16_t type;
    uint32_t sequence;
    const std::function<void(nlmsghdr *)> &take;
  } context{type, 0, take};
  nl_cb *callbacks = nl_cb_alloc(NL_CB_DEFAULT);
  if (!callbacks) return -NLE_NOMEM;
  nl_cb_set(callbacks, NL_CB_VALID, NL_CB_CUSTOM,
            [](nl_msg *answer, void *argument) -> int {
              auto *wanted = static_cast<Context *>(argument);
              nlmsghdr *header = nlmsg_hdr(answer);
              if (header->nlmsg_type == wanted->type && header->nlmsg_seq == wanted->sequence) wanted->take(header);
              return NL_OK;
            },
            &context);
  // libnl counts on an acknowledgement per question; we compare the number ourselves.
  nl_cb_set(callbacks, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, [](nl_msg *, void *) -> int { return NL_OK; }, nullptr);
  int result = nl_send_auto(socket, message);
  context.sequence = nlmsg_hdr(message)->nlmsg_seq;
  if (result >= 0) result = nl_recvmsgs(socket, callbacks);
  nl_cb_put(callbacks);
  return result;
}

}  // namespace

int IpAddress::family() const { return bytes.size() == 4 ? AF_INET : AF_INET6; }

std::optional<IpAddress> parse_ip(const std::string &text) {
  uint8_t bytes[16];
  if (inet_pton(AF_INET, text.c_str(), bytes) == 1) return IpAddress{{bytes, bytes + 4}};
  if (inet_pton(AF_INET6, text.c_str(), bytes) == 1) return IpAddress{{bytes, bytes + 16}};
  return std::nullopt;
}

std::string format_ip(const IpAddress &address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (!address.bytes.empty()) inet_ntop(address.family(), address.bytes.data(), text, sizeof text);
  return text;
}

Result<NetlinkQuery> NetlinkQuery::open() {
  Socket socket(nl_socket_alloc());
  if (!socket) return Error{"no memory for a netlink socket"};
  if (const int error = nl_connect(socket.get(), NETLINK_ROUTE); error < 0)
    return Error{std::string("cannot open route netlink: ") + nl_geterror(error)};
  nl_socket_disable_auto_ack(socket.get());
  return NetlinkQuery(std::move(socket));
}

std::optional<Route> NetlinkQuery::route(const IpAddress &destination) {
  rtmsg header{};
  header.rtm_family = static_cast<unsigned char>(destination.family());
  header.rtm_dst_len = static_cast<unsigned char>(destination.bytes.size() * 8);
  Message message = make_message(RTM_GETROUTE, 0, header);
  if (!message || nla_put(message.get(), RTA_DST, static_cast<int>(destination.bytes.size()), destination.bytes.data()) != 0)
    return std::nullopt;
  std::optional<Route> route;
  ask(socket_.get(), message.get(), RTM_NEWROUTE, [&](nlmsghdr *answer) {
    Attributes attributes;
    if (!parse<rtmsg>(answer, attributes) || !attributes[RTA_OIF]) return;
    if (static_cast<rtmsg *>(nlmsg_data(answer))->rtm_type != RTN_UNICAST) return;
    route.emplace();
    route->ifindex = nla_get_u32(attributes[RTA_OIF]);
    if (attributes[RTA_GATEWAY]) route->gateway = address_of(attributes[RTA_GATEWAY]);
    if (attributes[RTA_VIA]) {
      const auto *via = static_cast<const rtvia *>(nla_data(attributes[RTA_VIA]));
      const auto length = nla_len(attributes[RTA_VIA]) - static_cast<int>(sizeof(rtvia));
      route->gateway = {{via->rtvia_addr, via->rtvia_addr + length}};
    }
    if (attributes[RTA_METRICS]) {
      Attributes metrics;
      metrics.fill(nullptr);
      if (nla_parse_nested(metrics.data(), static_cast<int>(metrics.size()) - 1, attributes[RTA_METRICS], nullptr) == 0 &&
          metrics[RTAX_MTU])
        route->mtu = nla_get_u32(metrics[RTAX_MTU]);
    }
  });
  return route;
}

std::optional<Link> NetlinkQuery::link(uint32_t ifindex) {
  ifinfomsg header{};
  header.ifi_index = static_cast<int>(ifindex);
  Message message = make_message(RTM_GETLINK, 0, header);
  if (!message) return std::nullopt;
  std::optional<Link> link;
  ask(socket_.get(), message.get(), RTM_NEWLINK, [&](nlmsghdr *answer) {
    Attributes attributes;
    if (!parse<ifinfomsg>(answer, attributes) || !attributes[IFLA_IFNAME]) return;
    link.emplace();
    link->name = nla_get_string(attributes[IFLA_IFNAME]);
    const unsigned flags = static_cast<ifinfomsg *>(nlmsg_data(answer))->ifi_flags;
    link->up = (flags & IFF_UP) && (flags & IFF_RUNNING);
    if (attributes[IFLA_MTU]) link->mtu = nla_get_u32(attributes[IFLA_MTU]);
    if (attributes[IFLA_ADDRESS]) mac_of(attributes[IFLA_ADDRESS], link->mac);
  });
  return link;
}

std::optional<Neighbour> NetlinkQuery::neighbour(uint32_t ifindex, const IpAddress &address) {
  ndmsg header{};
  header.ndm_family = static_cast<unsigned char>(address.family());
  header.ndm_ifindex = static_cast<int>(ifindex);
  Message message = make_message(RTM_GETNEIGH, 0, header);
  if (!message || nla_put(message.get(), NDA_DST, static_cast<int>(address.bytes.size()), address.bytes.data()) != 0)
    return std::nullopt;
  std::optional<Neighbour> neighbour;
  ask(socket_.get(), message.get(), RTM_NEWNEIGH, [&](nlmsghdr *answer) {
    Attributes attributes;
    if (!parse<ndmsg>(answer, attributes)) return;
    neighbour.emplace();
    if (!attributes[NDA_LLADDR]) return;
    neighbour->valid = static_cast<ndmsg *>(nlmsg_data(answer))->ndm_state & kValid;
    mac_of(attributes[NDA_LLADDR], neighbour->mac);
  });
  return neighbour;
}

// NTF_USE starts resolution; managed, the kernel repeats it by itself for ever. Neither changes the MAC.
int NetlinkQuery::set_neighbour(uint32_t ifindex, const IpAddress &address, bool managed) {
  ndmsg header{};
  header.ndm_family = static_cast<unsigned char>(address.family());
  header.ndm_ifindex = static_cast<int>(ifindex);
  header.ndm_state = NUD_NONE;
  header.ndm_flags = managed ? 0 : NTF_USE;
  Message message = make_message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, header);
  if (!message || nla_put(message.get(), NDA_DST, static_cast<int>(address.bytes.size()), address.bytes.data()) != 0)
    return -NLE_NOMEM;
  if (managed && nla_put_u32(message.get(), NDA_FLAGS_EXT, NTF_EXT_MANAGED) != 0) return -NLE_NOMEM;
  return ask(socket_.get(), message.get(), NLMSG_DONE, [](nlmsghdr *) {});
}

Result<> NetlinkQuery::keep_resolved(uint32_t ifindex, const IpAddress &address) {
  int result = can_manage_ ? set_neighbour(ifindex, address, true) : -NLE_OPNOTSUPP;
  if (result == -NLE_INVAL || result == -NLE_OPNOTSUPP) {
    can_manage_ = false;
    result = set_neighbour(ifindex, address, false);
  }
  if (result >= 0) return done();
  return Error{"cannot have neighbour " + format_ip(address) + " resolved: " + nl_geterror(result), "CAP_NET_ADMIN is needed"};
}

void NetlinkQuery::let_go(uint32_t ifindex, const IpAddress &address) {
  if (can_manage_) set_neighbour(ifindex, address, false);
}

}  // namespace catsbpf::agent
