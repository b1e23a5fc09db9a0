// SPDX-License-Identifier: Apache-2.0
// The C-SMA's end of one delta session: dials its C-PS over mutual TLS 1.3, again and again, sends the
// site's rows and their changes, and passes reservations to the owner of the table. However many
// changes come while a message is being written, one message carries them (back-pressure).
//
// All calls and callbacks on the thread of `io`.
#pragma once

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cmas/delta_session.h"
#include "cmas/proto/api.pb.h"
#include "util/result.h"
#include "util/tls/identity.h"

namespace catsbpf::agent {

struct SessionClientOptions {
  std::string peer;     // certificate name of the C-PS
  std::string address;  // "10.255.0.1:7900"
  tls::Files tls;
  std::string domain;
  std::string name;  // of this node
  std::string site;
  std::vector<std::string> egresses;
  std::chrono::milliseconds hold_time{30'000};
  std::string function_set = "none";
  std::chrono::milliseconds first_retry{100}, last_retry{3'000};  // backoff, jitter is added
  std::chrono::milliseconds handshake_timeout{5'000};             // from connect to OpenReply
};

class SessionClient {
 public:
  using Answer = std::function<void(Result<>)>;
  // What the C-PS asks of the ledger. `answer` may be called later (after the store has it), once.
  struct Ledger {
    std::function<void(uint64_t reservation, const cmas::RowKey &key, uint32_t gas, std::chrono::milliseconds lease,
                       Answer answer)>
        reserve;
    std::function<void(uint64_t reservation, std::chrono::milliseconds lease, Answer answer)> renew;
    std::function<void(uint64_t reservation, Answer answer)> release;
    // All that this C-PS knows of; the rest of what was granted to it is to be released. Returns those that
    // the ledger does not have: they have ended.
    std::function<std::vector<uint64_t>(const std::set<uint64_t> &reservations)> held;
  };

  // Starts to dial at once. Fails naming the address or the TLS file, and why. `table` outlives the client.
  static Result<std::unique_ptr<SessionClient>> open(boost::asio::io_context &io, SessionClientOptions options,
                                                     const cmas::SiteTable &table, uint64_t epoch, Ledger ledger);
  virtual ~SessionClient() = default;

  // The message that carries a change. wire_bytes (length prefix included) is 0 when the message is not
  // made yet: session down, or another message is being written (`sequence` is then the next one's).
  struct Carried {
    uint64_t epoch = 0, sequence = 0;
    uint32_t wire_bytes = 0;
  };
  // Rows changed: sends at once unless a message is being written.
  virtual Carried changed(const cmas::SiteTable::Dirty &dirty) = 0;
  // Sequence of the last message made; acknowledged ones are in the C-PS' table.
  virtual uint64_t acknowledged() const = 0;
  // A reservation has ended here. While the session is down nothing is said: the C-PS names what it holds when
  // it is back.
  virtual void finished(uint64_t reservation, const std::string &reason) = 0;

  virtual bool up() const = 0;
  virtual v1::SessionStatus status() const = 0;
  virtual void stop() = 0;
};

}  // namespace catsbpf::agent
