// SPDX-License-Identifier: Apache-2.0
// Cost per packet of the XDP program, net of the harness, beside the floor of the same run. Programs take
// turns in rounds, so that a noisy machine disturbs all alike; the figure is the median over the rounds.
// Goes out: one JSON object per line with the keys name value unit floor ratio.
#include <bpf/bpf.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "tests/bench/floor.skel.h"
#include "tests/bench/replay.skel.h"
#include "tests/support/packet.h"
#include "tests/support/plane.h"

namespace catsbpf::test {
namespace {

constexpr size_t kHeadBytes = 128;
constexpr uint32_t kRepeat = 1'000'000;
constexpr int kRounds = 9;
constexpr uint32_t kFlowLines = 1 << 19;  // as many as the floor has: compare like with like

[[noreturn]] void die(const char *what) {
  std::perror(what);
  std::exit(1);
}

class Replay {
 public:
  Replay() : skeleton_(replay_bpf__open_and_load()) {
    if (!skeleton_) die("cannot load the replay program");
    void *mapped = mmap(nullptr, sizeof(uint64_t) * 16 << 20, PROT_READ | PROT_WRITE, MAP_SHARED,
                        bpf_map__fd(skeleton_->maps.heads), 0);
    if (mapped == MAP_FAILED) die("cannot map the heads");
    heads_ = static_cast<uint8_t *>(mapped);
  }
  ~Replay() { replay_bpf__destroy(skeleton_); }
  Replay(const Replay &) = delete;
  Replay &operator=(const Replay &) = delete;

  // All frames have one length.
  void load(const std::vector<Bytes> &frames) {
    frame_ = frames.front();
    count_ = static_cast<uint32_t>(frames.size());
    for (size_t i = 0; i < frames.size(); ++i) std::memcpy(heads_ + i * kHeadBytes, frames[i].data(), kHeadBytes);
  }

  int noop() const { return bpf_program__fd(skeleton_->progs.noop); }

  // ns per packet, harness included. `verdict`: the last one.
  double run(int program, uint32_t repeat, uint32_t &verdict) {
    const uint32_t zero = 0;
    const uint32_t state[4] = {count_, 0, static_cast<uint32_t>(frame_.size()), 0};
    if (bpf_map_update_elem(bpf_map__fd(skeleton_->maps.state), &zero, state, BPF_ANY) != 0 ||
        bpf_map_update_elem(bpf_map__fd(skeleton_->maps.under_test), &zero, &program, BPF_ANY) != 0)
      die("cannot set the program under test");
    Bytes output(4096);
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame_.data(), .data_out = output.data(),
                .data_size_in = static_cast<uint32_t>(frame_.size()),
                .data_size_out = static_cast<uint32_t>(output.size()), .repeat = static_cast<int>(repeat));
    if (bpf_prog_test_run_opts(bpf_program__fd(skeleton_->progs.replay), &options) != 0) die("cannot run");
    verdict = options.retval;
    return options.duration;
  }

 private:
  replay_bpf *skeleton_;
  uint8_t *heads_ = nullptr;
  Bytes frame_;
  uint32_t count_ = 0;
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

struct Subject {
  int program;
  uint32_t verdict;  // that it must give
  std::vector<double> net{};
};

// Runs the subjects in turns over the loaded frames; fills their net costs.
void measure(Replay &replay, const std::vector<Subject *> &subjects) {
  uint32_t verdict = 0;
  for (Subject *subject : subjects) replay.run(subject->program, kRepeat / 4, verdict);  // flows are established
  for (int round = 0; round < kRounds; ++round) {
    const double harness = replay.run(replay.noop(), kRepeat, verdict);
    for (Subject *subject : subjects) {
      subject->net.push_back(replay.run(subject->program, kRepeat, verdict) - harness);
      if (verdict != subject->verdict) {
        std::fprintf(stderr, "error: verdict %u instead of %u: the program did not do what is measured\n", verdict,
                     subject->verdict);
        std::exit(1);
      }
    }
  }
}

void print(const char *name, double value, const double *floor) {
  if (floor)
    std::printf("{\"name\": \"%s\", \"value\": %.1f, \"unit\": \"ns/packet\", \"floor\": %.1f, \"ratio\": %.2f}\n",
                name, value, *floor, value / *floor);
  else
    std::printf("{\"name\": \"%s\", \"value\": %.1f, \"unit\": \"ns/packet\", \"floor\": null, \"ratio\": null}\n",
                name, value);
}

std::vector<Bytes> packets(uint32_t flows, const std::string &destination) {
  std::vector<Bytes> frames;
  frames.reserve(flows);
  for (uint32_t i = 0; i < flows; ++i) {
    const uint32_t host = (i * 7919u) % 0xffff00u + 1;
    Ip spec;
    spec.source =
        "10." + std::to_string(host >> 16) + "." + std::to_string(host >> 8 & 255) + "." + std::to_string(host & 255);
    spec.source_port = static_cast<uint16_t>(1024 + i % 60000);
    spec.destination = destination;
    spec.payload_bytes = 74;
    frames.push_back(from_client(ip(spec)));
  }
  return frames;
}

// A plane with one service of four instances behind one path, as at an ingress.
void set_up(Plane &plane) {
  plane.interface_sides(maps::SIDE_CLIENT | maps::SIDE_UNDERLAY);
  plane.tunnel("10.255.0.1", 0xca75, {"10.255.0.2"});
  plane.path(1, "10.255.0.2");
  for (uint16_t slot = 1; slot <= 4; ++slot) plane.instance(slot, 1, slot, 1);
  plane.services({{.cs_id = 1, .locators = {{"10.99.0.1"}, {"fd00:99::1"}}, .ring = {1, 2, 3, 4}}});
  plane.publish();
}

void bench(const std::set<std::string> &wanted) {
  const auto is_wanted = [&](const char *name) { return wanted.empty() || wanted.contains(name); };
  Plane plane(kFlowLines);
  set_up(plane);
  Replay replay;
  if (is_wanted("est-geneve-10k")) {
    floor_bpf *floor = floor_bpf__open_and_load();
    if (!floor) die("cannot load the floor");
    replay.load(packets(10'000, "10.99.0.1"));
    Subject ours{plane.xdp_program(), XDP_REDIRECT}, sip2{bpf_program__fd(floor->progs.sip2), XDP_TX};
    measure(replay, {&ours, &sip2});
    const double least = median(sip2.net);
    print("est-geneve-10k", median(ours.net), &least);
    floor_bpf__destroy(floor);
  }
  if (is_wanted("pass")) {
    replay.load(packets(10'000, "10.98.0.1"));
    Subject ours{plane.xdp_program(), XDP_PASS};
    measure(replay, {&ours});
    print("pass", median(ours.net), nullptr);
  }
}

}  // namespace
}  // namespace catsbpf::test

int main(int count, char **words) { catsbpf::test::bench(std::set<std::string>(words + 1, words + count)); }
