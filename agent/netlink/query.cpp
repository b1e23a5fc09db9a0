// SPDX-License-Identifier: Apache-2.0
#include "agent/netlink/query.h"

#include <arpa/inet.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>

#include <algorithm>
#include <functional>

namespace catsbpf::agent {

namespace {

// A list that changed while it was read may lack some: it is read again.
constexpr int kListAttempts = 3;
constexpr uint16_t kFixed = NUD_PERMANENT | NUD_NOARP;
constexpr uint16_t kValid = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | kFixed;

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

std::string text_of(const nlattr *attribute) {
  const auto *text = static_cast<const char *>(nla_data(attribute));
  return std::string(text, strnlen(text, static_cast<size_t>(nla_len(attribute))));
}

Result<Link> link_of(nlmsghdr *answer) {
  Attributes attributes;
  if (!parse<ifinfomsg>(answer, attributes) || !attributes[IFLA_IFNAME]) return Error{"a link without a name"};
  const auto *header = static_cast<const ifinfomsg *>(nlmsg_data(answer));
  Link link;
  link.ifindex = static_cast<uint32_t>(header->ifi_index);
  link.name = text_of(attributes[IFLA_IFNAME]);
  link.up = header->ifi_flags & IFF_UP;
  link.running = header->ifi_flags & IFF_RUNNING;
  if (attributes[IFLA_MTU]) link.mtu = nla_get_u32(attributes[IFLA_MTU]);
  if (attributes[IFLA_ADDRESS]) mac_of(attributes[IFLA_ADDRESS], link.mac);
  if (attributes[IFLA_MASTER]) link.master = nla_get_u32(attributes[IFLA_MASTER]);
  // With a namespace the number is that of a link over there.
  if (attributes[IFLA_LINK] && !attributes[IFLA_LINK_NETNSID]) link.lower = nla_get_u32(attributes[IFLA_LINK]);
  Attributes kind;
  kind.fill(nullptr);
  if (attributes[IFLA_LINKINFO] &&
      nla_parse_nested(kind.data(), static_cast<int>(kind.size()) - 1, attributes[IFLA_LINKINFO], nullptr) == 0 &&
      kind[IFLA_INFO_KIND])
    link.kind = text_of(kind[IFLA_INFO_KIND]);
  return link;
}

// As for the kernel: while duplicate address detection goes on (unless the operator is optimistic) and after it found
// another host, an IPv6 address is not local.
bool is_proven(const ifaddrmsg &entry, const Attributes &attributes) {
  const uint32_t flags = attributes[IFA_FLAGS] ? nla_get_u32(attributes[IFA_FLAGS]) : entry.ifa_flags;
  if (flags & IFA_F_DADFAILED) return false;
  return !(flags & IFA_F_TENTATIVE) || flags & IFA_F_OPTIMISTIC;
}

// The one that is configured, and the network's last address, which the kernel takes for one in any case.
void add_broadcasts(const ifaddrmsg &entry, const Attributes &attributes, std::vector<IpAddress> &addresses) {
  constexpr int kNoBroadcast = 31;  // point to point (RFC 3021), or a host by itself
  if (attributes[IFA_BROADCAST]) addresses.push_back(address_of(attributes[IFA_BROADCAST]));
  if (!attributes[IFA_ADDRESS] || entry.ifa_prefixlen >= kNoBroadcast) return;
  const uint32_t last = nla_get_u32(attributes[IFA_ADDRESS]) | htonl(~0U >> entry.ifa_prefixlen);
  const auto *bytes = reinterpret_cast<const uint8_t *>(&last);
  addresses.push_back({{bytes, bytes + sizeof last}});
}

// Sends, and hands each answer of type `type` to `take`. Negative: the kernel's refusal.
int ask(nl_sock *socket, nl_msg *message, uint16_t type, const std::function<void(nlmsghdr *)> &take) {
  struct Context {
    uint16_t type;
    uint32_t sequence;
    const std::function<void(nlmsghdr *)> &take;
  } context{type, 0, take};
  nl_cb *callbacks = nl_cb_alloc(NL_CB_DEFAULT);
  if (!callbacks) return -NLE_NOMEM;
  nl_cb_set(
      callbacks, NL_CB_VALID, NL_CB_CUSTOM,
      [](nl_msg *answer, void *argument) -> int {
        auto *wanted = static_cast<Context *>(argument);
        nlmsghdr *header = nlmsg_hdr(answer);
        if (header->nlmsg_type == wanted->type && header->nlmsg_seq == wanted->sequence) wanted->take(header);
        return NL_OK;
      },
      &context);
  // libnl counts on an acknowledgement per question; we compare the number ourselves.
  nl_cb_set(
      callbacks, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, [](nl_msg *, void *) -> int { return NL_OK; }, nullptr);
  int result = nl_send_auto(socket, message);
  context.sequence = nlmsg_hdr(message)->nlmsg_seq;
  if (result >= 0) result = nl_recvmsgs(socket, callbacks);
  nl_cb_put(callbacks);
  return result;
}

// The kernel refuses where there is nothing to tell; this is another matter.
bool unanswered(int result) {
  return result == -NLE_NOMEM || result == -NLE_INTR || result == -NLE_AGAIN || result == -NLE_MSG_TRUNC;
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

Result<NetlinkQuery> NetlinkQuery::open(bool manages) {
  Socket socket(nl_socket_alloc());
  if (!socket) return Error{"no memory for a netlink socket"};
  if (const int error = nl_connect(socket.get(), NETLINK_ROUTE); error < 0)
    return Error{std::string("cannot open route netlink: ") + nl_geterror(error)};
  nl_socket_disable_auto_ack(socket.get());
  return NetlinkQuery(std::move(socket), manages);
}

Result<std::optional<Route>> NetlinkQuery::route(const IpAddress &destination) {
  rtmsg header{};
  header.rtm_family = static_cast<unsigned char>(destination.family());
  header.rtm_dst_len = static_cast<unsigned char>(destination.bytes.size() * 8);
  Message message = make_message(RTM_GETROUTE, 0, header);
  if (!message ||
      nla_put(message.get(), RTA_DST, static_cast<int>(destination.bytes.size()), destination.bytes.data()) != 0)
    return Error{"no memory for a netlink message"};
  std::optional<Route> route;
  const int asked = ask(socket_.get(), message.get(), RTM_NEWROUTE, [&](nlmsghdr *answer) {
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
      if (nla_parse_nested(metrics.data(), static_cast<int>(metrics.size()) - 1, attributes[RTA_METRICS], nullptr) ==
              0 &&
          metrics[RTAX_MTU])
        route->mtu = nla_get_u32(metrics[RTAX_MTU]);
    }
  });
  if (unanswered(asked))
    return Error{"cannot look up the route to " + format_ip(destination) + ": " + nl_geterror(asked)};
  return route;
}

Result<std::optional<Link>> NetlinkQuery::link(uint32_t ifindex) {
  ifinfomsg header{};
  header.ifi_index = static_cast<int>(ifindex);
  Message message = make_message(RTM_GETLINK, 0, header);
  if (!message) return Error{"no memory for a netlink message"};
  std::optional<Link> link;
  const int asked = ask(socket_.get(), message.get(), RTM_NEWLINK, [&](nlmsghdr *answer) {
    if (auto read = link_of(answer)) link = std::move(*read);
  });
  if (unanswered(asked))
    return Error{"cannot look up interface " + std::to_string(ifindex) + ": " + nl_geterror(asked)};
  return link;
}

Result<std::vector<Link>> NetlinkQuery::links() {
  int refused = 0;
  for (int attempt = 0; attempt < kListAttempts; ++attempt) {
    ifinfomsg header{};
    Message message = make_message(RTM_GETLINK, NLM_F_DUMP, header);
    if (!message || nla_put_u32(message.get(), IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS) != 0)
      return Error{"no memory for a netlink message"};
    std::vector<Link> links;
    refused = ask(socket_.get(), message.get(), RTM_NEWLINK, [&](nlmsghdr *answer) {
      if (auto read = link_of(answer)) links.push_back(std::move(*read));
    });
    if (refused >= 0) return links;
  }
  return Error{std::string("cannot list the links: ") + nl_geterror(refused)};
}

Result<std::vector<IpAddress>> NetlinkQuery::own_addresses() {
  int refused = 0;
  for (int attempt = 0; attempt < kListAttempts; ++attempt) {
    ifaddrmsg header{};
    Message message = make_message(RTM_GETADDR, NLM_F_DUMP, header);
    if (!message) return Error{"no memory for a netlink message"};
    std::vector<IpAddress> addresses;
    refused = ask(socket_.get(), message.get(), RTM_NEWADDR, [&](nlmsghdr *answer) {
      Attributes attributes;
      if (!parse<ifaddrmsg>(answer, attributes)) return;
      const auto *entry = static_cast<const ifaddrmsg *>(nlmsg_data(answer));
      if (!is_proven(*entry, attributes)) return;
      // Of a point-to-point link IFA_ADDRESS is the other end's.
      const nlattr *own = attributes[IFA_LOCAL] ? attributes[IFA_LOCAL] : attributes[IFA_ADDRESS];
      if (own) addresses.push_back(address_of(own));
      if (entry->ifa_family == AF_INET) add_broadcasts(*entry, attributes, addresses);
    });
    if (refused >= 0) return addresses;
  }
  return Error{std::string("cannot list the addresses: ") + nl_geterror(refused)};
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
    const uint16_t state = static_cast<ndmsg *>(nlmsg_data(answer))->ndm_state;
    neighbour.emplace();
    neighbour->failed = state & NUD_FAILED;
    neighbour->fixed = state & kFixed;
    neighbour->managed = attributes[NDA_FLAGS_EXT] && nla_get_u32(attributes[NDA_FLAGS_EXT]) & NTF_EXT_MANAGED;
    if (!attributes[NDA_LLADDR]) return;
    neighbour->valid = state & kValid;
    mac_of(attributes[NDA_LLADDR], neighbour->mac);
  });
  return neighbour;
}

// NTF_USE starts resolution; managed, the kernel repeats it by itself for ever. Neither changes the MAC of a
// neighbour that the kernel has learnt.
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
  if (const auto found = neighbour(ifindex, address); found && found->fixed) return done();
  int result = can_manage_ ? set_neighbour(ifindex, address, true) : -NLE_OPNOTSUPP;
  if (result == -NLE_INVAL || result == -NLE_OPNOTSUPP) {
    can_manage_ = false;
    result = set_neighbour(ifindex, address, false);
  }
  if (result >= 0) return done();
  return Error{"cannot have neighbour " + format_ip(address) + " resolved: " + nl_geterror(result),
               "CAP_NET_ADMIN is needed"};
}

void NetlinkQuery::let_go(uint32_t ifindex, const IpAddress &address) {
  const auto found = neighbour(ifindex, address);
  if (found && found->managed && !found->fixed) set_neighbour(ifindex, address, false);
}

bool NetlinkQuery::has_filters(uint32_t ifindex) {
  bool some = false;
  for (const uint32_t hook : {TC_H_MIN_INGRESS, TC_H_MIN_EGRESS}) {
    tcmsg header{};
    header.tcm_ifindex = static_cast<int>(ifindex);
    header.tcm_parent = TC_H_MAKE(TC_H_CLSACT, hook);
    if (Message message = make_message(RTM_GETTFILTER, NLM_F_DUMP, header))
      ask(socket_.get(), message.get(), RTM_NEWTFILTER, [&](nlmsghdr *) { some = true; });
  }
  return some;
}

}  // namespace catsbpf::agent
