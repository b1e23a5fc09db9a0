// SPDX-License-Identifier: Apache-2.0
// The whole service table of a C-PS (R038, R039): rows of all origins joined with the services of the
// platform and the network delay to each egress. Fed by three writers (sessions, platform client,
// C-NMA), read by selection. Says after each change which services are touched.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>

#include "cmas/model.h"
#include "cmas/proto/service.pb.h"
#include "util/result.h"

namespace catsbpf::cmas {

// What the C-NMA knows of the way to one egress (R037).
struct NetworkMetric {
  Micros delay{0};  // round trip, median of the window
  Micros jitter{0};
  double loss = 0;  // 0..1
  TimePoint measured{};
  bool answers = true;  // false: no probe comes back
};

class WholeTable {
 public:
  using Services = std::set<uint32_t>;  // cs_ids touched by a change

  // ---- services, from the platform ----
  // Touches nothing when the service is what it was (but for its revision).
  Services put_service(const v1::Service &service);
  Services remove_service(const std::string &service_id);
  const v1::Service *service(uint32_t cs_id) const;
  const v1::Service *service(const std::string &service_id) const;  // also accepts the decimal cs_id
  const std::map<uint32_t, v1::Service> &services() const { return services_; }

  // ---- rows, by origin (name of the C-SMA) ----
  // Adds or renews `rows`; the other rows of the origin stay. Thaws the origin: it speaks.
  // Fails (nothing changed) when another origin owns one of the keys (the first keeps it, until its row is
  // dead or withdrawn) or check() of limits.h refuses a row.
  Result<Services> put_rows(const std::string &origin, const std::string &site,
                            const std::vector<std::string> &egresses, const std::vector<Row> &rows);
  // The site removed them: dead until `forget`, so that their flows move. Of more than kMaxDead dead rows
  // the oldest are forgotten.
  Services remove_rows(const std::string &origin, const std::set<RowKey> &keys);
  static constexpr std::size_t kMaxDead = 1'000;
  // A dead row goes from the table; others stay.
  Services forget(const RowKey &key);
  // All rows of a silent origin: frozen (no new flows), thawed by its return, withdrawn after the hold time
  // (gone from selection and from the table; their flows stay while packets get through).
  Services freeze(const std::string &origin);
  Services thaw(const std::string &origin);
  Services withdraw(const std::string &origin);

  // ---- network, from the C-NMA ----
  // Touches the services only when the egress falls silent or answers again, or the delay moved by more than
  // `delay_threshold` of itself (R085) and by more than 20 us. A negative delay is none.
  Services put_metric(const std::string &egress, const NetworkMetric &metric);
  // Egresses that answer no probe: their data plane may forward all the same.
  const std::set<std::string> &silent_egresses() const { return silent_egresses_; }
  // From the programmer: this router has no way to the egress, or has one again.
  Services put_path(const std::string &egress, bool alive);
  const std::set<std::string> &dead_paths() const { return dead_paths_; }
  // Egresses to which a path is configured; to others none leads. Before the first row.
  void set_forwarders(std::set<std::string> forwarders) { forwarders_ = std::move(forwarders); }
  const NetworkMetric *metric(const std::string &egress) const;
  const std::map<std::string, NetworkMetric> &metrics() const { return metrics_; }

  // ---- drain, from the operator ----
  Services drain(const RowKey &key, bool on);
  Services drain_site(const std::string &site, bool on);
  Services drain_egress(const std::string &egress, bool on);
  bool draining_site(const std::string &site) const { return drained_sites_.contains(site); }
  bool draining_egress(const std::string &egress) const { return drained_egresses_.contains(egress); }
  const std::set<RowKey> &drained() const { return drained_; }
  const std::set<std::string> &drained_sites() const { return drained_sites_; }
  const std::set<std::string> &drained_egresses() const { return drained_egresses_; }

  // Candidates of one service, in order of CSCI-ID; dead ones included (state says so).
  std::vector<Candidate> candidates(uint32_t cs_id) const;
  // All rows of all services, for `catsbpf instances`.
  std::vector<Candidate> all() const;
  // All egresses by which a row that is not dead may be reached.
  std::set<std::string> egresses() const;
  // The owner of a row: (origin, row).
  std::optional<std::pair<std::string, Row>> owner(const RowKey &key) const;

  void set_delay_threshold(double threshold) { delay_threshold_ = threshold; }

 private:
  struct Origin {
    std::string site{};
    std::vector<std::string> egresses{};
    bool frozen = false;
  };
  struct Owned {
    std::string origin{};
    Row row{};
    bool dead = false;
  };
  Candidate join(const Owned &owned) const;
  Services set_frozen(const std::string &origin, bool frozen);
  Services services_of_origin(const std::string &origin) const;
  template <class Pick>
  Services services_by(Pick &&pick) const {
    Services picked;
    for (const auto &[key, owned] : rows_)
      if (pick(owned)) picked.insert(key.cs_id);
    return picked;
  }
  const std::vector<std::string> &egresses_of(const Owned &owned) const;
  bool has_forwarder(const std::string &egress) const { return !forwarders_ || forwarders_->contains(egress); }
  const std::string *choose_egress(const std::vector<std::string> &egresses) const;
  Services services_by_egress(const std::string &egress) const;

  std::map<uint32_t, v1::Service> services_;
  std::map<std::string, uint32_t> service_ids_;
  std::map<std::string, Origin> origins_;
  std::map<RowKey, Owned> rows_;
  std::deque<RowKey> dead_;  // oldest first
  std::map<std::string, NetworkMetric> metrics_;
  std::map<std::string, Micros> steered_delay_;  // delay that selection was last told
  std::set<RowKey> drained_;
  std::set<std::string> drained_sites_, drained_egresses_;
  std::set<std::string> silent_egresses_, dead_paths_;
  std::optional<std::set<std::string>> forwarders_;  // empty: nobody has said
  double delay_threshold_ = 0.1;
};

}  // namespace catsbpf::cmas
