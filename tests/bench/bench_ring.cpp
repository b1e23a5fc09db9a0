// SPDX-License-Identifier: Apache-2.0
// What one delta that changes a ring costs the event loop of a C-PS with an ingress: from the row in the whole table
// to the view that is ready to flip, on tables in memory. Goes out: one JSON object per line.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "agent/dataplane/fake.h"
#include "agent/programmer/path_table.h"
#include "agent/programmer/service_table.h"
#include "agent/selector/steering.h"
#include "cmas/whole_table.h"
#include "maps/tables.h"

namespace catsbpf::agent {
namespace {

constexpr uint32_t kService = 1;
constexpr int kChanges = 25;
const std::vector<std::string> kEgresses = {"f2", "f3", "f4"};

[[noreturn]] void die(const std::string &what) {
  std::fprintf(stderr, "error: %s\n", what.c_str());
  std::exit(1);
}

cmas::Row row(uint32_t csci_id, uint32_t gas) {
  return {.key = {kService, csci_id},
          .offered = gas,
          .cost = 1.0 + csci_id % 7,
          .egresses = {kEgresses[csci_id % kEgresses.size()]}};
}

class Loop {
 public:
  explicit Loop(uint32_t rows)
      : slots_(dataplane_.instances()),
        paths_(dataplane_, next_hops_, slots_, [] {}),
        services_(dataplane_, slots_, paths_, totals_) {
    std::vector<ForwarderAddress> forwarders;
    for (const auto &egress : kEgresses) forwarders.push_back({egress, "10.255.0." + egress.substr(1)});
    if (!services_.open() || !paths_.open(*maps::parse_address("10.255.0.1"), CATS_VNI, forwarders))
      die("the tables in memory do not open");
    service_.set_service_id("S1");
    service_.set_cs_id(kService);
    service_.add_locators()->set_prefix("10.99.0.1");
    table_.put_service(service_);
    for (std::size_t f = 0; f < kEgresses.size(); ++f)
      table_.put_metric(kEgresses[f], {.delay = cmas::Micros(1000 * (f + 1))});
    std::vector<cmas::Row> all;
    for (uint32_t csci_id = 1; csci_id <= rows; ++csci_id) all.push_back(row(csci_id, 4 + csci_id % 5));
    put(all);
  }

  // One turn of the event loop; how long each part of it took.
  void put(const std::vector<cmas::Row> &rows) {
    start_ = std::chrono::steady_clock::now();
    if (!table_.put_rows("c2", "site-2", kEgresses, rows)) die("rows are refused");
    auto candidates = table_.candidates(kService);
    took("rows");
    auto outcome = steering_.update(service_, std::move(candidates), {kEgresses.begin(), kEgresses.end()});
    if (!outcome || !outcome->wanted || outcome->shift.empty()) die("the ring did not change");
    took("selection");
    services_.put(std::move(*outcome->wanted));
    services_.apply_states(kService);
    if (!services_.stage(false) || !services_.write_side(side_ ^= 1)) die("the view cannot be staged");
    (void)services_.leave();
    took("staging");
  }

  const std::map<std::string, double> &parts() const { return parts_; }  // ms

 private:
  void took(const std::string &part) {
    const auto now = std::chrono::steady_clock::now();
    parts_[part] = std::chrono::duration<double, std::milli>(now - start_).count();
    start_ = now;
  }

  FakeDataplane dataplane_{1 << 17};
  FakeNextHops next_hops_;
  Programmer::Totals totals_;
  Slots slots_;
  PathTable paths_;
  ServiceTable services_;
  cmas::WholeTable table_;
  v1::Service service_;
  ServiceSteering steering_{0.1};
  int side_ = 0;
  std::chrono::steady_clock::time_point start_;
  std::map<std::string, double> parts_;
};

void line(const std::string &name, double value) {
  std::printf("{\"name\": \"%s\", \"value\": %.3f, \"unit\": \"ms\", \"floor\": null, \"ratio\": null}\n", name.c_str(),
              value);
  std::fflush(stdout);
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

void measure(const std::string &name, uint32_t rows) {
  Loop loop(rows);
  std::map<std::string, std::vector<double>> parts;
  std::vector<double> sums;
  for (int change = 0; change < kChanges; ++change) {
    loop.put({row(rows / 2, change % 2 ? 4 : 40)});
    sums.push_back(0);
    for (const auto &[part, ms] : loop.parts()) {
      parts[part].push_back(ms);
      sums.back() += ms;
    }
  }
  line(name, median(sums));
  for (const auto &[part, values] : parts) line(name + "-" + part, median(values));
}

}  // namespace
}  // namespace catsbpf::agent

int main(int count, char **words) {
  const std::set<std::string> wanted(words + 1, words + count);
  const std::map<std::string, uint32_t> figures = {{"ring-change-1k", 1'000}, {"ring-change-12k", 12'000}};
  for (const auto &[name, rows] : figures)
    if (wanted.empty() || wanted.contains(name)) catsbpf::agent::measure(name, rows);
}
