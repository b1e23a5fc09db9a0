// SPDX-License-Identifier: Apache-2.0
// Only +, x, / and comparison on doubles, so that all machines compute the same ring.
//
// Slots and members rate each other by the same number, draw / weight. So the keenest of all pairs is matched, then
// the keenest of those left, and so on. Each member names its claims keenest first: some slots x ln(slots) claims are
// looked at until the last slot is taken, however many members there are.
#include "cmas/ring_matching.h"

#include <algorithm>
#include <numeric>

namespace catsbpf::cmas {

namespace {

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

// The draws: slot x has rank inverse(a x + b) modulo a prime with a member whose CSCI-ID gives a and b, and draws
// the level of that rank. The levels are the expected order statistics of `prime` exponential draws, and each member
// meets every one once: with draws of full chance a member's load would scatter 1.5 times as wide.
struct Draws {
  explicit Draws(uint32_t slots) : prime(std::max(slots, 2u)) {
    while (!is_prime(prime)) ++prime;
    reciprocal = UINT64_MAX / prime + 1;
    inverse.resize(prime);
    inverse[1] = 1;
    for (uint32_t i = 2; i < prime; ++i) inverse[i] = prime - modulo(uint64_t{prime / i} * inverse[prime % i]);
    level.resize(prime);
    double sum = 0;
    for (uint32_t rank = 0; rank < prime; ++rank) level[rank] = sum += 1.0 / (prime - rank);
  }
  // x < 2 prime^2. A division would cost more than the rest of a claim does.
  uint32_t modulo(uint64_t x) const {
    return static_cast<uint32_t>(static_cast<unsigned __int128>(reciprocal * x) * prime >> 64);
  }

  uint32_t prime;
  uint64_t reciprocal;            // of the prime, x 2^64, rounded up
  std::vector<uint32_t> inverse;  // modulo the prime, and 0 of 0: the inverse of the inverse is the number again
  std::vector<double> level;      // by rank, rising
};

// A member, and its claims by rank.
struct Claimant {
  Claimant(const Draws &draws, const RingMember &member, uint32_t share)
      : weight(member.weight),
        per_weight(1 / member.weight),
        step(draws.inverse[1 + mix(member.csci_id) % (draws.prime - 1)]),
        room(share + (share >> kSlackShift) + 1) {
    const uint64_t offset = mix(~uint64_t{member.csci_id}) % draws.prime;
    start = draws.modulo((draws.prime - offset) * step);
  }
  uint32_t slot(const Draws &draws, uint32_t rank) const {
    return draws.modulo(uint64_t{step} * draws.inverse[rank] + start);
  }

  double weight, per_weight;
  uint32_t step, start = 0;  // 1 / a, -b / a
  uint32_t room;             // slots that it may still take
  uint32_t next = 0;         // rank of its next claim
};

struct Claim {
  double keenness;  // draw / weight; lower is keener
  uint32_t member, slot;
  bool operator<(const Claim &other) const {
    return keenness != other.keenness ? keenness < other.keenness : member < other.member;
  }
};

class Matching {
 public:
  Matching(const std::vector<RingMember> &members, const std::vector<uint32_t> &shares, uint32_t slots)
      : draws_(slots), holder_(slots), taken_(slots, false) {
    claimants_.reserve(members.size());
    for (std::size_t m = 0; m < members.size(); ++m) claimants_.emplace_back(draws_, members[m], shares[m]);
  }

  // The claims come in strides of rising keenness: few are sorted that a keener one has made void before.
  std::vector<uint16_t> match() {
    std::vector<uint32_t> open(claimants_.size());  // have room
    std::iota(open.begin(), open.end(), 0);
    double begin = 0;
    for (std::size_t left = holder_.size(); left > 0;) {
      double weight = 0;
      for (const uint32_t m : open) weight += claimants_[m].weight;
      const double end = begin + kStride / weight;
      collect(open, end);
      sort(begin, end);
      left -= grant();
      std::erase_if(open, [&](uint32_t m) { return claimants_[m].room == 0; });
      begin = end;
    }
    leave_none_out();
    return std::move(holder_);
  }

 private:
  static constexpr double kStride = 0.5;  // claims per stride that a free slot may expect

  void collect(const std::vector<uint32_t> &open, double end) {
    claims_.clear();
    for (const uint32_t m : open) {
      Claimant &claimant = claimants_[m];
      for (; claimant.next < draws_.prime; ++claimant.next) {
        const double keenness = draws_.level[claimant.next] * claimant.per_weight;
        if (keenness > end) break;
        const uint32_t slot = claimant.slot(draws_, claimant.next);
        if (slot < taken_.size() && !taken_[slot]) claims_.push_back({keenness, m, slot});
      }
    }
  }

  // As many buckets as claims, in which they lie about evenly.
  void sort(double begin, double end) {
    const std::size_t buckets = claims_.size();
    const auto bucket = [&](const Claim &claim) {
      const double at = std::max(claim.keenness - begin, 0.0) / (end - begin) * static_cast<double>(buckets);
      return std::min(static_cast<std::size_t>(at), buckets - 1);
    };
    first_.assign(buckets + 1, 0);
    for (const Claim &claim : claims_) ++first_[bucket(claim)];
    std::partial_sum(first_.begin(), first_.end(), first_.begin());
    sorted_.resize(buckets);
    for (const Claim &claim : claims_) sorted_[--first_[bucket(claim)]] = claim;
    for (std::size_t b = 0; b < buckets; ++b)
      if (first_[b + 1] - first_[b] > 1) std::sort(sorted_.begin() + first_[b], sorted_.begin() + first_[b + 1]);
  }

  std::size_t grant() {
    std::size_t granted = 0;
    for (const auto &[keenness, m, slot] : sorted_) {
      if (taken_[slot] || claimants_[m].room == 0) continue;
      taken_[slot] = true;
      holder_[slot] = static_cast<uint16_t>(m);
      --claimants_[m].room;
      ++granted;
    }
    return granted;
  }

  // A member whose share rounds to nothing takes the slot it draws best, from one that has more.
  void leave_none_out() {
    if (claimants_.size() > holder_.size()) return;
    std::vector<uint32_t> counts(claimants_.size(), 0);
    for (const uint16_t m : holder_) ++counts[m];
    for (std::size_t m = 0; m < claimants_.size(); ++m)
      for (uint32_t rank = 0; counts[m] == 0; ++rank) {
        const uint32_t slot = claimants_[m].slot(draws_, rank);
        if (slot >= holder_.size() || counts[holder_[slot]] < 2) continue;
        --counts[holder_[slot]];
        holder_[slot] = static_cast<uint16_t>(m);
        ++counts[m];
      }
  }

  Draws draws_;
  std::vector<Claimant> claimants_;
  std::vector<uint16_t> holder_;
  std::vector<bool> taken_;
  std::vector<Claim> claims_, sorted_;  // of one stride
  std::vector<uint32_t> first_;         // of each bucket of sorted_
};

}  // namespace

std::vector<uint16_t> match(const std::vector<RingMember> &members, const std::vector<uint32_t> &shares,
                            uint32_t slots) {
  return Matching(members, shares, slots).match();
}

}  // namespace catsbpf::cmas
