// SPDX-License-Identifier: Apache-2.0
// One configured C-SMA as its C-PS sees it, over all its sessions: its rows, what happens to them while it
// is silent (in use, frozen, withdrawn). In: admitted connections. Out:
// changes of the whole service table.
#pragma once

#include <boost/asio/awaitable.hpp>

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "agent/session/connection.h"
#include "agent/session/deadline.h"
#include "agent/session/reservations.h"
#include "agent/session/session_record.h"
#include "agent/session/session_server.h"
#include "cmas/delta_session.h"

namespace catsbpf::agent {

// What origins tell their server.
struct OriginCallbacks {
  SessionServer::Touched touched;
  std::function<void(uint64_t, const std::string &)> finished;
  std::function<void()> synced;
  std::function<void(const std::string &peer, const std::string &name, const Error &why)> refused;
};

class Origin : public std::enable_shared_from_this<Origin> {
 public:
  // `options`, `table` and `callbacks` outlive the origin until stop().
  Origin(boost::asio::any_io_executor io, const SessionServerOptions &options, SessionServerOptions::Agent agent,
         cmas::WholeTable &table, const OriginCallbacks &callbacks);

  const std::string &name() const { return agent_.name; }
  // Checks Open, answers it, and serves the session until it ends. A refused Open is answered with why.
  boost::asio::awaitable<void> serve(std::shared_ptr<Connection> connection, v1::Open open);
  void refused(const Error &why);  // a session that never came up

  boost::asio::awaitable<Result<>> reserve(cmas::RowKey key, uint64_t reservation, uint32_t gas,
                                           std::chrono::milliseconds lease);
  boost::asio::awaitable<Result<>> renew(uint64_t reservation, std::chrono::milliseconds lease);
  void release(uint64_t reservation) { reservations_.release(reservation); }

  bool synced() const { return synced_; }  // a Snapshot came since the server opened
  v1::SessionStatus status() const;
  void stop();

 private:
  Result<uint32_t> admit(const v1::Open &open) const;
  void began(std::shared_ptr<Connection> connection, const v1::Open &open, uint32_t version);
  // False: the session must end (and has been refused).
  bool take(const v1::Envelope &envelope);
  bool take_rows(const v1::Envelope &envelope);
  bool refuse(const Error &why);
  void name_unknown_egresses(const std::vector<cmas::Row> &rows);
  void ask_resync(const std::string &reason);
  void lost(const std::string &reason);
  void silence_began(std::chrono::milliseconds withdraw_after);
  void silence_ended();
  void freeze();
  void thaw();
  void withdraw();
  void touched(const cmas::WholeTable::Services &services);

  enum class Rows { kNone, kInUse, kFrozen, kWithdrawn };

  const SessionServerOptions &options_;
  SessionServerOptions::Agent agent_;
  cmas::WholeTable &table_;
  const OriginCallbacks &callbacks_;
  cmas::DeltaReceiver receiver_;
  std::shared_ptr<Connection> connection_;  // null: down
  Reservations reservations_;
  Deadline freeze_deadline_, withdraw_deadline_;  // of the silence
  std::vector<std::string> egresses_;
  std::set<std::string> unknown_egresses_;  // said already
  std::chrono::milliseconds hold_{0};
  Rows rows_ = Rows::kNone;
  bool silent_ = false;  // nobody vouches for the rows: no session, or one whose Snapshot is still to come
  bool synced_ = false, acknowledge_due_ = false, stopped_ = false, last_refused_ = false;
  SessionRecord record_;
};

}  // namespace catsbpf::agent
