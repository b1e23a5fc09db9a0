// SPDX-License-Identifier: Apache-2.0
#include "agent/programmer/service_networks.h"

#include <algorithm>

namespace catsbpf::agent {

namespace {

constexpr int kMostLayers = 8;  // of links that stand on links

const Link *link_of(const std::vector<Link> &links, uint32_t ifindex) {
  const auto found = std::ranges::find(links, ifindex, &Link::ifindex);
  return found == links.end() ? nullptr : &*found;
}

bool leads_to(const Link &link, const std::vector<Link> &links, const std::set<std::string> &interfaces, int layers) {
  if (interfaces.contains(link.name)) return true;
  if (layers == 0) return false;
  const auto leads = [&](const Link &below) { return leads_to(below, links, interfaces, layers - 1); };
  const Link *lower = link.lower ? link_of(links, link.lower) : nullptr;
  return (lower && leads(*lower)) ||
         std::ranges::any_of(links, [&](const Link &port) { return port.master == link.ifindex && leads(port); });
}

bool all_up(const std::vector<Link> &links, const std::set<std::string> &interfaces) {
  return std::ranges::all_of(interfaces, [&](const std::string &name) {
    const auto link = std::ranges::find(links, name, &Link::name);
    return link != links.end() && link->up && link->running;
  });
}

}  // namespace

Result<> check_contact(const std::string &contact, const std::optional<Route> &route, const std::vector<Link> &links,
                       const std::set<std::string> &interfaces) {
  const Link *link = route && route->gateway.bytes.empty() ? link_of(links, route->ifindex) : nullptr;
  if (link && leads_to(*link, links, interfaces, kMostLayers)) return done();
  if (!all_up(links, interfaces)) return done();
  std::string names;
  for (const auto &name : interfaces) names += (names.empty() ? "" : ", ") + name;
  return Error{contact + " is on no network of a service interface of this egress, which delivers directly",
               "give an address on a service interface of this egress (" + names + ")"};
}

Result<std::unique_ptr<ServiceNetworks>> ServiceNetworks::open(std::set<std::string> interfaces) {
  auto query = NetlinkQuery::open();
  if (!query) return query.error();
  return std::unique_ptr<ServiceNetworks>(new ServiceNetworks(std::move(interfaces), std::move(*query)));
}

Result<> ServiceNetworks::check(const std::string &contact) {
  const auto address = parse_ip(contact);
  if (!address) return Error{"'" + contact + "' is no address"};
  const auto route = query_.route(*address);
  if (!route) return done();  // the kernel does not say
  if (*route && (*route)->gateway.bytes.empty()) {
    // The usual case of a table with thousands of rows, without a list of all links for each.
    const auto link = query_.link((*route)->ifindex);
    if (link && *link && interfaces_.contains((*link)->name)) return done();
  }
  if (!*route) {
    const auto own = query_.own_addresses();
    if (own && std::ranges::find(*own, *address) != own->end())
      return Error{contact + " is an address of this egress itself or a broadcast one, no host of the site's network",
                   "give the instance's own address there"};
  }
  const auto links = query_.links();
  return links ? check_contact(contact, *route, *links, interfaces_) : done();
}

}  // namespace catsbpf::agent
