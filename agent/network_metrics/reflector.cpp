// SPDX-License-Identifier: Apache-2.0
#include "agent/network_metrics/reflector.h"

#include <boost/asio/posix/stream_descriptor.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <list>
#include <map>
#include <set>

#include "agent/network_metrics/udp_socket.h"
#include "util/log.h"

namespace catsbpf::agent {

namespace asio = boost::asio;
using stamp::ReflectorPacket;

namespace {

// Source address and port, local address (RFC 8762 section 4: what tells test sessions apart).
struct SessionKey {
  std::string source;
  uint16_t port;
  std::array<uint8_t, sizeof(in6_addr)> local;
  auto operator<=>(const SessionKey &) const = default;
};

class Mirror;

class StampReflector final : public Reflector {
 public:
  explicit StampReflector(ReflectorOptions options)
      : options_(std::move(options)), sources_(options_.sources.begin(), options_.sources.end()) {}
  ~StampReflector() override { stop(); }

  Result<> open(asio::io_context &io);
  Counts counts() const override { return counts_; }
  uint16_t port() const override;
  void stop() override;

  void reflect(UdpSocket &socket, const Datagram &received);

 private:
  struct Session {
    SessionKey key;
    uint32_t sequence = 0;
    double tokens;
    std::chrono::steady_clock::time_point refilled;
  };
  Session &session_of(const Datagram &received);
  bool allowed(Session &session) const;

  ReflectorOptions options_;
  std::set<std::string> sources_;
  std::vector<std::shared_ptr<Mirror>> mirrors_;  // one per family
  std::list<Session> sessions_;                   // most recently used first
  std::map<SessionKey, std::list<Session>::iterator> by_key_;
  std::vector<uint8_t> reply_;
  Counts counts_;
};

// A socket and its place in the event loop.
class Mirror : public std::enable_shared_from_this<Mirror> {
 public:
  Mirror(asio::io_context &io, UdpSocket socket, StampReflector &reflector)
      : socket_(std::move(socket)), watch_(io, socket_.fd()), reflector_(&reflector) {}
  ~Mirror() { stop(); }

  void watch() {
    watch_.async_wait(asio::posix::stream_descriptor::wait_read,
                      [self = shared_from_this()](boost::system::error_code failed) {
                        if (failed || !self->reflector_) return;
                        self->drain();
                        self->watch();
                      });
  }
  void stop() {
    reflector_ = nullptr;
    if (watch_.is_open()) watch_.release();
  }
  uint16_t port() const { return socket_.port(); }

 private:
  void drain() {
    // Bounded, so that a flood does not keep the event loop.
    for (int i = 0; i < 64; ++i) {
      const auto received = socket_.receive();
      if (!received.ok()) continue;  // an ICMP error to an earlier reply
      if (!*received) return;
      reflector_->reflect(socket_, **received);
    }
  }
  UdpSocket socket_;
  asio::posix::stream_descriptor watch_;
  StampReflector *reflector_;
};

Result<> StampReflector::open(asio::io_context &io) {
  std::vector<int> families{AF_UNSPEC};
  if (options_.address.empty()) families = {AF_INET, AF_INET6};
  uint16_t port = options_.port;
  for (const int family : families) {
    auto address = UdpAddress::make(options_.address, port, family);
    if (!address.ok()) return address.error();
    auto socket = UdpSocket::open(*address);
    if (!socket.ok() && family == AF_INET6 && socket.error().code == EAFNOSUPPORT) continue;
    if (!socket.ok())
      return Error{"cannot reflect STAMP: " + socket.error().what, socket.error().hint, socket.error().code};
    port = socket->port();
    mirrors_.push_back(std::make_shared<Mirror>(io, std::move(*socket), *this));
    mirrors_.back()->watch();
  }
  log::info("reflector up address={} port={}", options_.address.empty() ? "any" : options_.address, port);
  return done();
}

uint16_t StampReflector::port() const { return mirrors_.empty() ? 0 : mirrors_.front()->port(); }

void StampReflector::stop() {
  for (auto &mirror : mirrors_) mirror->stop();
}

StampReflector::Session &StampReflector::session_of(const Datagram &received) {
  SessionKey key{received.source.host(), received.source.port(), {}};
  std::memcpy(key.local.data(), &received.local, sizeof received.local);
  if (const auto found = by_key_.find(key); found != by_key_.end()) {
    sessions_.splice(sessions_.begin(), sessions_, found->second);
    return sessions_.front();
  }
  if (sessions_.size() >= options_.max_sessions) {
    by_key_.erase(sessions_.back().key);
    sessions_.pop_back();
  }
  sessions_.push_front({key, 0, static_cast<double>(options_.packets_per_second), std::chrono::steady_clock::now()});
  by_key_.emplace(std::move(key), sessions_.begin());
  return sessions_.front();
}

bool StampReflector::allowed(Session &session) const {
  const auto now = std::chrono::steady_clock::now();
  const double rate = options_.packets_per_second;
  const std::chrono::duration<double> passed = now - std::exchange(session.refilled, now);
  session.tokens = std::min(rate, session.tokens + passed.count() * rate);
  if (session.tokens < 1) return false;
  session.tokens -= 1;
  return true;
}

void StampReflector::reflect(UdpSocket &socket, const Datagram &received) {
  const auto sender = stamp::decode_sender(received.bytes);
  if (!sender) {
    ++counts_.malformed;
    return;
  }
  if (received.source.port() == socket.port() || (!sources_.empty() && !sources_.contains(received.source.host()))) {
    ++counts_.refused;
    return;
  }
  Session &session = session_of(received);
  if (!allowed(session)) {
    ++counts_.limited;
    return;
  }
  ReflectorPacket packet;
  packet.sequence = session.sequence;
  packet.error_estimate = stamp::system_error_estimate();
  packet.receive_timestamp = stamp::to_ntp(received.received);
  packet.sender = *sender;
  packet.sender_ttl = received.ttl;
  // Symmetric: what a longer packet carries beyond the base goes back as it came (RFC 8762 section 4.3).
  reply_.assign(received.bytes.begin(), received.bytes.end());
  reply_.resize(std::max(reply_.size(), stamp::kPacketBytes));
  packet.timestamp = stamp::to_ntp(wall_now());
  std::ranges::copy(stamp::encode(packet), reply_.begin());
  if (!socket.reply(received, reply_).ok()) {
    ++counts_.send_failed;
    return;
  }
  ++session.sequence;
  ++counts_.reflected;
}

}  // namespace

Result<std::unique_ptr<Reflector>> Reflector::open(asio::io_context &io, ReflectorOptions options) {
  auto reflector = std::make_unique<StampReflector>(std::move(options));
  if (auto opened = reflector->open(io); !opened.ok()) return opened.error();
  return std::unique_ptr<Reflector>(std::move(reflector));
}

}  // namespace catsbpf::agent
