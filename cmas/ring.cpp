// SPDX-License-Identifier: Apache-2.0
// In: members and weights. Out: who holds which slot. Only +, x, / and comparison on doubles, so that all
// machines compute the same ring.
#include "cmas/ring.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace catsbpf::cmas {

namespace {

constexpr std::array<uint32_t, 9> kSizes = {251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65537};
constexpr uint32_t kSlotsPerMember = 100;
constexpr uint32_t kSlackShift = 3;  // a member may hold 1/8 more than its share

bool is_prime(uint32_t n) {
  for (uint32_t d = 2; d * d <= n; ++d)
    if (n % d == 0) return false;
  return n >= 2;
}

uint64_t mix(uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// 8 bits of mantissa: a weight that did not really change does not change at all.
double quantised(double weight) {
  int exponent = 0;
  const double fraction = std::frexp(weight, &exponent);
  return std::ldexp(std::round(fraction * 256) / 256, exponent);
}

// The draws: draw[(a x + b) mod prime] for slot x, where a and b come from the CSCI-ID. They are the
// expected order statistics of `prime` exponential draws, and each member meets every one once (inverses
// modulo a prime permute them): with draws of full chance a member's load would scatter 1.5 times as wide.
struct Draws {
  explicit Draws(uint32_t slots) : prime(std::max(slots, 2u)) {
    while (!is_prime(prime)) ++prime;
    std::vector<uint64_t> inverse(prime, 0);
    inverse[1] = 1;
    for (uint64_t i = 2; i < prime; ++i) inverse[i] = (prime - (prime / i) * inverse[prime % i] % prime) % prime;
    std::vector<double> level(prime);
    double sum = 0;
    for (uint32_t rank = 0; rank < prime; ++rank) level[rank] = sum += 1.0 / (prime - rank);
    draw.resize(prime);
    for (uint32_t i = 0; i < prime; ++i) draw[i] = level[inverse[i]];
  }
  uint32_t prime;
  std::vector<double> draw;
};

// One member's draws, slot after slot.
struct Stream {
  Stream(const Draws &draws, const RingMember &member)
      : step(static_cast<uint32_t>(1 + mix(member.csci_id) % (draws.prime - 1))),
        offset(static_cast<uint32_t>(mix(~uint64_t{member.csci_id}) % draws.prime)),
        per_weight(1 / member.weight) {}
  double at(const Draws &draws, uint32_t slot) const {
    return draws.draw[(uint64_t{step} * slot + offset) % draws.prime] * per_weight;
  }
  uint32_t step, offset;
  double per_weight;
};

class Builder {
 public:
  Builder(const std::vector<RingMember> &members, uint32_t slots)
      : draws_(slots), holder_(slots), keenness_(slots, HUGE_VAL) {
    for (const auto &member : members) streams_.emplace_back(draws_, member);
    for (const uint32_t share : quantise(members, slots)) room_.push_back(share + (share >> kSlackShift) + 1);
  }

  std::vector<uint16_t> build() {
    give_first_preferences();
    bound_loads();
    leave_none_out();
    return std::move(holder_);
  }

 private:
  void give_first_preferences() {
    for (std::size_t m = 0; m < streams_.size(); ++m) {
      uint32_t at = streams_[m].offset;
      for (std::size_t slot = 0; slot < holder_.size(); ++slot) {
        const double draw = draws_.draw[at] * streams_[m].per_weight;
        if (draw < keenness_[slot]) {
          keenness_[slot] = draw;
          holder_[slot] = static_cast<uint16_t>(m);
        }
        at += streams_[m].step;
        if (at >= draws_.prime) at -= draws_.prime;
      }
    }
  }

  // Deferred acceptance: its outcome depends on no order. Room is left over, so each slot finds a place.
  void bound_loads() {
    std::vector<std::vector<uint32_t>> held(streams_.size());
    for (uint32_t slot = 0; slot < holder_.size(); ++slot) held[holder_[slot]].push_back(slot);
    const auto keener = [&](uint32_t a, uint32_t b) { return keenness_[a] < keenness_[b]; };
    for (bool moved = true; moved;) {
      moved = false;
      for (std::size_t m = 0; m < held.size(); ++m) {
        auto &mine = held[m];
        if (mine.size() <= room_[m]) continue;
        std::nth_element(mine.begin(), mine.begin() + room_[m], mine.end(), keener);
        const std::vector<uint32_t> refused(mine.begin() + room_[m], mine.end());
        mine.resize(room_[m]);
        for (const uint32_t slot : refused) held[next_preference(slot)].push_back(slot);
        moved = true;
      }
    }
  }

  uint16_t next_preference(uint32_t slot) {
    const std::pair<double, std::size_t> last{keenness_[slot], holder_[slot]};
    std::pair<double, std::size_t> best{HUGE_VAL, 0};
    for (std::size_t m = 0; m < streams_.size(); ++m) {
      const std::pair<double, std::size_t> wish{streams_[m].at(draws_, slot), m};
      if (wish > last && wish < best) best = wish;
    }
    keenness_[slot] = best.first;
    holder_[slot] = static_cast<uint16_t>(best.second);
    return holder_[slot];
  }

  // A member whose share rounds to nothing takes the slot it draws best, from one that has more.
  void leave_none_out() {
    std::vector<uint32_t> counts(streams_.size(), 0);
    for (const uint16_t m : holder_) ++counts[m];
    for (std::size_t m = 0; m < streams_.size() && streams_.size() <= holder_.size(); ++m) {
      if (counts[m] > 0) continue;
      std::pair<double, std::size_t> best{HUGE_VAL, 0};
      for (uint32_t slot = 0; slot < holder_.size(); ++slot)
        if (counts[holder_[slot]] > 1) best = std::min(best, {streams_[m].at(draws_, slot), slot});
      --counts[holder_[best.second]];
      holder_[best.second] = static_cast<uint16_t>(m);
      ++counts[m];
    }
  }

  Draws draws_;
  std::vector<Stream> streams_;
  std::vector<uint32_t> room_;
  std::vector<uint16_t> holder_;
  std::vector<double> keenness_;  // draw / weight of a slot's holder; lower is keener
};

bool has_weight(const RingMember &member) { return std::isfinite(member.weight) && member.weight > 0; }

}  // namespace

uint32_t ring_size(std::size_t members) {
  for (const uint32_t size : kSizes)
    if (size >= kSlotsPerMember * members) return size;
  return kSizes.back();
}

std::vector<uint32_t> quantise(const std::vector<RingMember> &members, uint32_t slots) {
  std::vector<uint32_t> counts(members.size(), 0);
  double most = 0, sum = 0;
  for (const auto &member : members)
    if (has_weight(member)) most = std::max(most, member.weight);
  for (const auto &member : members)
    if (has_weight(member)) sum += member.weight / most;  // by the largest, so that no sum overflows
  if (most == 0) return counts;

  std::vector<std::pair<double, std::size_t>> remainders;  // -remainder, index: largest first, then order
  uint32_t given = 0;
  for (std::size_t m = 0; m < members.size(); ++m) {
    if (!has_weight(members[m])) continue;
    const double share = members[m].weight / most / sum * slots;
    counts[m] = static_cast<uint32_t>(share);
    given += counts[m];
    remainders.emplace_back(counts[m] - share, m);
  }
  std::sort(remainders.begin(), remainders.end());
  for (std::size_t r = 0; given < slots; ++r, ++given) ++counts[remainders[r % remainders.size()].second];
  while (given > slots) --*std::max_element(counts.begin(), counts.end()), --given;
  if (remainders.size() > slots) return counts;
  for (const auto &[remainder, m] : remainders)
    if (counts[m] == 0) {
      --*std::max_element(counts.begin(), counts.end());
      counts[m] = 1;
    }
  return counts;
}

Ring build_ring(std::vector<RingMember> members, uint32_t slots) {
  Ring ring;
  std::erase_if(members, [](const RingMember &member) { return !has_weight(member); });
  std::sort(members.begin(), members.end(), [](const auto &a, const auto &b) { return a.csci_id < b.csci_id; });
  double most = 0;
  for (auto &member : members) {
    member.weight = quantised(member.weight);
    most = std::max(most, member.weight);
  }
  ring.members = members;
  ring.counts.resize(members.size());
  if (members.empty() || slots == 0) return ring;
  // Relative to the largest, and no less than a share of nothing: draw / weight stays finite.
  int exponent = 0;
  (void)std::frexp(most, &exponent);
  for (auto &member : members) member.weight = std::max(std::ldexp(member.weight, -exponent), 1e-100);
  ring.slots = Builder(members, slots).build();
  for (const uint16_t holder : ring.slots) ++ring.counts[holder];
  return ring;
}

}  // namespace catsbpf::cmas
