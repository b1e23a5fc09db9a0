// SPDX-License-Identifier: Apache-2.0
#include "agent/api/client_flows.h"

#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace catsbpf::agent {

namespace {

constexpr std::size_t kSlice = 16'384;  // records, 1 MiB: under a millisecond

// Its last packet is longer ago than its timeout; the sweep has not come by yet.
bool is_over(const maps::flow_entry &entry, const maps::flow_record &record, uint64_t jiffies) {
  const auto seen = static_cast<uint32_t>(__atomic_load_n(&entry.seen, __ATOMIC_RELAXED) >> 32);
  const auto idle = static_cast<int32_t>(static_cast<uint32_t>(jiffies) - seen);
  return idle > 0 && static_cast<uint32_t>(idle) > record.timeout;
}

uint32_t instance_of(Dataplane &dataplane, uint64_t word) {
  const uint64_t slot = word & FLOW_SLOT_MASK;
  return slot == SLOT_PLAIN ? 0 : dataplane.instances()[slot].csci_id;
}

}  // namespace

boost::asio::awaitable<std::map<uint32_t, uint32_t>> flows_of(Dataplane &dataplane, maps::address client,
                                                              uint32_t cs_id) {
  std::map<uint32_t, uint32_t> found;
  const auto executor = co_await boost::asio::this_coro::executor;
  const auto records = dataplane.flow_records();
  const auto lines = dataplane.flows();
  const auto services = dataplane.services(static_cast<int>(dataplane.control().view & 1));
  for (std::size_t i = 0; i < records.size(); i++) {
    const auto &record = records[i];
    if (i % kSlice == kSlice - 1) co_await boost::asio::post(executor, boost::asio::use_awaitable);
    if (record.word == 0 || record.source.high != client.high || record.source.low != client.low) continue;
    const auto &entry = lines[i / FLOW_LINE_ENTRIES].entry[i % FLOW_LINE_ENTRIES];
    if (__atomic_load_n(&entry.word, __ATOMIC_RELAXED) != record.word) continue;  // of a flow that ended
    if (is_over(entry, record, dataplane.jiffies())) continue;
    if (record.service < services.size() && services[record.service].cs_id == cs_id)
      found[instance_of(dataplane, record.word)]++;
  }
  co_return found;
}

}  // namespace catsbpf::agent
