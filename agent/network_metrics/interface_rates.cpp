// SPDX-License-Identifier: Apache-2.0
#include "agent/network_metrics/interface_rates.h"

#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <boost/asio/steady_timer.hpp>

#include <cerrno>
#include <cstring>
#include <optional>

#include "util/fd.h"

namespace catsbpf::agent {

namespace asio = boost::asio;
using SteadyClock = std::chrono::steady_clock;

namespace {

ifreq request_for(const std::string &name) {
  ifreq request{};
  std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
  return request;
}

class KernelRates final : public InterfaceRates, public std::enable_shared_from_this<KernelRates> {
 public:
  KernelRates(asio::io_context &io, std::vector<std::string> interfaces, std::chrono::milliseconds period)
      : timer_(io), period_(period) {
    for (auto &name : interfaces) watched_.push_back({.rate = {.name = std::move(name)}});
  }

  Result<> open() {
    netlink_ = Fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    if (!netlink_.valid()) return system_error("cannot open a netlink socket", errno);
    control_ = Fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!control_.valid()) return system_error("cannot open a socket for interface states", errno);
    // The kernel answers within the call; never wait for an answer that was lost.
    const timeval patience{0, 100'000};
    if (::setsockopt(netlink_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0)
      return system_error("cannot set up a netlink socket", errno);
    sample();
    wait();
    return done();
  }

  std::vector<InterfaceRate> rates() const override {
    std::vector<InterfaceRate> all;
    for (const auto &watched : watched_) all.push_back(watched.rate);
    return all;
  }

  void stop() override {
    stopped_ = true;
    timer_.cancel();
  }

 private:
  struct Counters {
    uint64_t received = 0, sent = 0;  // bytes
  };
  struct Watched {
    InterfaceRate rate;
    unsigned index = 0;
    std::optional<Counters> before{};
    SteadyClock::time_point at{};
  };

  void wait() {
    timer_.expires_after(period_);
    timer_.async_wait([weak = weak_from_this()](boost::system::error_code cancelled) {
      const auto self = weak.lock();
      if (cancelled || !self || self->stopped_) return;
      self->sample();
      self->wait();
    });
  }

  void sample() {
    for (auto &watched : watched_) sample(watched);
  }

  void sample(Watched &watched) {
    auto &rate = watched.rate;
    const unsigned index = ::if_nametoindex(rate.name.c_str());
    const auto counters = index ? read_counters(index) : std::nullopt;
    const auto now = SteadyClock::now();
    rate.present = counters.has_value();
    rate.receive_mbps = rate.transmit_mbps = 0;
    // The same name may be another interface now, or its counters began anew.
    const bool comparable = counters && watched.before && watched.index == index &&
                            counters->received >= watched.before->received && counters->sent >= watched.before->sent;
    if (comparable) {
      const double megabits = 8e-6 / std::chrono::duration<double>(now - watched.at).count();
      rate.receive_mbps = static_cast<double>(counters->received - watched.before->received) * megabits;
      rate.transmit_mbps = static_cast<double>(counters->sent - watched.before->sent) * megabits;
    }
    rate.up = rate.present && running(rate.name);
    rate.speed_mbps = rate.present ? speed(rate.name) : -1;
    watched.index = index;
    watched.before = counters;
    watched.at = now;
  }

  std::optional<Counters> read_counters(unsigned index) {
    struct {
      nlmsghdr header;
      if_stats_msg message;
    } request{};
    request.header.nlmsg_len = sizeof request;
    request.header.nlmsg_type = RTM_GETSTATS;
    request.header.nlmsg_flags = NLM_F_REQUEST;
    request.header.nlmsg_seq = ++sequence_;
    request.message.ifindex = index;
    request.message.filter_mask = IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64);
    if (::send(netlink_.get(), &request, sizeof request, 0) < 0) return std::nullopt;
    alignas(nlmsghdr) char buffer[4096];
    for (;;) {
      const ssize_t size = ::recv(netlink_.get(), buffer, sizeof buffer, 0);
      if (size < static_cast<ssize_t>(sizeof(nlmsghdr))) return std::nullopt;
      const auto *header = reinterpret_cast<const nlmsghdr *>(buffer);
      if (header->nlmsg_seq != sequence_) continue;  // of an earlier question
      if (header->nlmsg_type != RTM_NEWSTATS) return std::nullopt;
      return counters_in(header, static_cast<std::size_t>(size));
    }
  }

  static std::optional<Counters> counters_in(const nlmsghdr *header, std::size_t size) {
    const auto *at = reinterpret_cast<const char *>(header) + NLMSG_SPACE(sizeof(if_stats_msg));
    const char *end = reinterpret_cast<const char *>(header) + std::min<std::size_t>(size, header->nlmsg_len);
    while (at + sizeof(rtattr) <= end) {
      rtattr attribute;
      std::memcpy(&attribute, at, sizeof attribute);
      if (attribute.rta_len < sizeof attribute || at + attribute.rta_len > end) break;
      if (attribute.rta_type == IFLA_STATS_LINK_64 && attribute.rta_len >= RTA_LENGTH(4 * sizeof(uint64_t))) {
        rtnl_link_stats64 stats{};
        std::memcpy(&stats, at + RTA_LENGTH(0), std::min<std::size_t>(sizeof stats, attribute.rta_len - RTA_LENGTH(0)));
        return Counters{stats.rx_bytes, stats.tx_bytes};
      }
      at += RTA_ALIGN(attribute.rta_len);
    }
    return std::nullopt;
  }

  bool running(const std::string &name) const {
    ifreq request = request_for(name);
    return ::ioctl(control_.get(), SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) &&
           (request.ifr_flags & IFF_RUNNING);
  }

  double speed(const std::string &name) const {
    ethtool_cmd command{};
    command.cmd = ETHTOOL_GSET;
    ifreq request = request_for(name);
    request.ifr_data = reinterpret_cast<char *>(&command);
    if (::ioctl(control_.get(), SIOCETHTOOL, &request) != 0) return -1;
    const uint32_t mbps = ethtool_cmd_speed(&command);
    return mbps == static_cast<uint32_t>(SPEED_UNKNOWN) || mbps == UINT16_MAX ? -1.0 : mbps;
  }

  asio::steady_timer timer_;
  std::chrono::milliseconds period_;
  Fd netlink_, control_;
  std::vector<Watched> watched_;
  uint32_t sequence_ = 0;
  bool stopped_ = false;
};

// Stops it when the owner goes; a timer handler under way may hold it a moment longer.
class OwnedRates final : public InterfaceRates {
 public:
  explicit OwnedRates(std::shared_ptr<KernelRates> rates) : rates_(std::move(rates)) {}
  ~OwnedRates() override { stop(); }
  std::vector<InterfaceRate> rates() const override { return rates_->rates(); }
  void stop() override { rates_->stop(); }

 private:
  std::shared_ptr<KernelRates> rates_;
};

}  // namespace

Result<std::unique_ptr<InterfaceRates>> InterfaceRates::open(asio::io_context &io, std::vector<std::string> interfaces,
                                                             std::chrono::milliseconds period) {
  auto rates = std::make_shared<KernelRates>(io, std::move(interfaces), period);
  if (auto opened = rates->open(); !opened.ok()) return opened.error();
  return std::unique_ptr<InterfaceRates>(std::make_unique<OwnedRates>(std::move(rates)));
}

}  // namespace catsbpf::agent
