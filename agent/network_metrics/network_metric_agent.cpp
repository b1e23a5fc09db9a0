// SPDX-License-Identifier: Apache-2.0
#include "agent/network_metrics/network_metric_agent.h"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <optional>

#include "agent/network_metrics/probe_window.h"
#include "agent/network_metrics/udp_socket.h"
#include "util/log.h"

namespace catsbpf::agent {

namespace asio = boost::asio;

namespace {

using Callback = std::function<void(const std::string &, const cmas::NetworkMetric &)>;

// Session-Sender to one egress.
class Probe : public std::enable_shared_from_this<Probe> {
 public:
  Probe(asio::io_context &io, const NetworkMetricAgentOptions &options, std::string egress, UdpAddress source,
        UdpAddress peer)
      : options_(options),
        source_(source),
        peer_(peer),
        window_(options.window, options.reply_timeout),
        timer_(io),
        watch_(io) {
    probes_.egress = std::move(egress);
    probes_.address = peer_.host();
  }
  ~Probe() { stop(); }

  // Senders of several egresses do not send at the same moment.
  void start(std::chrono::nanoseconds offset) {
    timer_.expires_after(std::chrono::duration_cast<asio::steady_timer::duration>(offset));
    wait();
  }
  void stop() {
    stopped_ = true;
    callback_ = nullptr;
    timer_.cancel();
    if (watch_.is_open()) watch_.release();
    socket_.reset();
  }
  void on_metric(Callback callback) { callback_ = std::move(callback); }
  const NetworkMetricAgent::Probes &probes() const { return probes_; }

 private:
  void wait() {
    timer_.async_wait([weak = weak_from_this()](boost::system::error_code cancelled) {
      const auto self = weak.lock();
      if (!cancelled && self && !self->stopped_) self->tick();
    });
  }

  void tick() {
    const auto now = cmas::Clock::now();
    const auto lost = window_.expire(now);
    probes_.lost += lost;
    send(now);
    // The cadence holds; what a stalled agent missed is not made up for.
    timer_.expires_at(std::max(timer_.expiry() + options_.interval, now));
    wait();
    if (lost > 0) tell();
  }

  void send(cmas::TimePoint now) {
    if (!socket_ && !open()) return;
    stamp::SenderPacket packet;
    packet.sequence = sequence_++;
    packet.error_estimate = stamp::system_error_estimate();
    packet.timestamp = stamp::to_ntp(wall_now());
    window_.sent(packet.sequence, packet.timestamp, now);
    const auto sent = socket_->send(stamp::encode(packet));
    ++probes_.sent;
    if (sent.ok()) {
      failing_ = false;
      return;
    }
    // Counts as lost in time: no route is loss too. ECONNREFUSED is the ICMP answer to an earlier probe.
    ++probes_.send_failed;
    notice(sent.error());
    if (!std::exchange(failing_, true))
      log::warn("cannot probe egress={} address={} reason=\"{}\"", probes_.egress, probes_.address, sent.error().what);
  }

  // Again with every probe until it succeeds: the source address or the route may come later.
  bool open() {
    auto socket = UdpSocket::open(source_);
    Result<> ready = socket.ok() ? socket->connect(peer_) : Result<>{socket.error()};
    if (!ready.ok()) {
      ++probes_.send_failed;
      if (!std::exchange(failing_, true))
        log::warn("cannot probe egress={} address={} reason=\"{}\"", probes_.egress, probes_.address,
                  ready.error().what);
      return false;
    }
    socket_.emplace(std::move(*socket));
    watch_.assign(socket_->fd());
    watch();
    return true;
  }

  void watch() {
    watch_.async_wait(asio::posix::stream_descriptor::wait_read,
                      [weak = weak_from_this()](boost::system::error_code failed) {
                        const auto self = weak.lock();
                        if (failed || !self || self->stopped_) return;
                        self->drain();
                        if (!self->stopped_) self->watch();
                      });
  }

  void drain() {
    for (int i = 0; i < 64 && !stopped_; ++i) {
      const auto received = socket_->receive();
      if (!received.ok()) {  // the probe is lost
        notice(received.error());
        continue;
      }
      if (!*received) return;
      take(**received);
    }
  }

  void take(const Datagram &datagram) {
    const auto reply = stamp::decode_reflector(datagram.bytes);
    const auto kind = reply ? window_.replied(*reply, stamp::to_ntp(datagram.received), cmas::Clock::now())
                            : ProbeWindow::Reply::kForeign;
    switch (kind) {
      case ProbeWindow::Reply::kAnswered:
        ++probes_.answered;
        probes_.kernel_timestamps = datagram.kernel_timestamp;
        tell();
        break;
      case ProbeWindow::Reply::kLate: ++probes_.late; break;
      case ProbeWindow::Reply::kDuplicate: ++probes_.duplicate; break;
      case ProbeWindow::Reply::kForeign: ++probes_.foreign; break;
    }
  }

  void notice(const Error &error) {
    if (error.code != ECONNREFUSED) return;
    ++probes_.refused;
    window_.refused(cmas::Clock::now());
  }

  void tell() {
    const auto metric = window_.metric();
    if (metric && callback_) callback_(probes_.egress, *metric);
  }

  const NetworkMetricAgentOptions &options_;
  UdpAddress source_, peer_;
  ProbeWindow window_;
  asio::steady_timer timer_;
  std::optional<UdpSocket> socket_;
  asio::posix::stream_descriptor watch_;  // of socket_, which owns the descriptor
  Callback callback_;
  NetworkMetricAgent::Probes probes_;
  uint32_t sequence_ = 0;
  bool failing_ = false, stopped_ = false;
};

class StampAgent final : public NetworkMetricAgent {
 public:
  explicit StampAgent(NetworkMetricAgentOptions options) : options_(std::move(options)) {}
  ~StampAgent() override { stop(); }

  Result<> open(asio::io_context &io) {
    if (options_.interval <= std::chrono::milliseconds(0) || options_.window == 0)
      return Error{"interval and window of network_metric_agent are numbers from 1 up"};
    for (const auto &egress : options_.egresses) {
      const auto peer = UdpAddress::make(egress.address, options_.port);
      if (!peer.ok()) return Error{"cannot probe egress '" + egress.name + "': " + peer.error().what};
      const auto source = source_for(peer->family());
      if (!source.ok()) return Error{"cannot probe from: " + source.error().what};
      probes_.push_back(std::make_shared<Probe>(io, options_, egress.name, *source, *peer));
    }
    for (std::size_t i = 0; i < probes_.size(); ++i)
      probes_[i]->start(std::chrono::nanoseconds(options_.interval) * static_cast<long>(i) /
                        static_cast<long>(probes_.size()));
    return done();
  }

  void on_metric(Callback callback) override {
    for (const auto &probe : probes_) probe->on_metric(callback);
  }
  std::vector<Probes> probes() const override {
    std::vector<Probes> all;
    for (const auto &probe : probes_) all.push_back(probe->probes());
    return all;
  }
  void stop() override {
    for (const auto &probe : probes_) probe->stop();
  }

 private:
  // The configured source where it is of the peer's family.
  Result<UdpAddress> source_for(int family) const {
    if (options_.source.empty()) return UdpAddress::make("", 0, family);
    auto source = UdpAddress::make(options_.source, 0);
    return !source.ok() || source->family() == family ? source : UdpAddress::make("", 0, family);
  }

  NetworkMetricAgentOptions options_;
  std::vector<std::shared_ptr<Probe>> probes_;
};

}  // namespace

Result<std::unique_ptr<NetworkMetricAgent>> NetworkMetricAgent::open(asio::io_context &io,
                                                                     NetworkMetricAgentOptions options) {
  auto agent = std::make_unique<StampAgent>(std::move(options));
  if (auto opened = agent->open(io); !opened.ok()) return opened.error();
  return std::unique_ptr<NetworkMetricAgent>(std::move(agent));
}

}  // namespace catsbpf::agent
