// SPDX-License-Identifier: Apache-2.0
// The tunnel address is one of this host: a start with another one touches nothing, and a running agent says when the
// address goes away.
#include <bpf/libbpf.h>
#include <gmock/gmock.h>
#include <net/if.h>
#include <unistd.h>

#include "maps/map.h"
#include "tests/prog/steering_fixture.h"

namespace catsbpf::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char *kOwn = "10.255.0.1";

class TunnelAddressTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    host = std::make_unique<Namespace>(unique("a"));
    host->ip("link add u0 type veth peer name p0");
    host->ip("link set u0 up");
    host->ip("addr add 172.16.1.1/24 dev u0");
    host->ip(std::string("addr add ") + kOwn + "/32 dev lo");
    inside = std::make_unique<Namespace::Inside>(*host);
  }
  void TearDown() override {
    KernelTest::TearDown();
    inside.reset();
    host.reset();
  }
  Result<std::unique_ptr<agent::Dataplane>> open(const std::string &tunnel_address) const {
    auto options = dataplane_options({{"u0", maps::SIDE_UNDERLAY, "native"}});
    options.tunnel_address = tunnel_address;
    return agent::open_kernel_dataplane(options);
  }
  static uint32_t xdp_program() {
    uint32_t id = 0;
    bpf_xdp_query_id(static_cast<int>(if_nametoindex("u0")), 0, &id);
    return id;
  }

  std::unique_ptr<Namespace> host;
  std::unique_ptr<Namespace::Inside> inside;
};

TEST_F(TunnelAddressTest, another_hosts_is_refused_before_anything_is_touched) {
  const auto refused = [&](const std::string &address) {
    const auto failed = open(address);
    ASSERT_FALSE(failed.ok()) << address;
    EXPECT_THAT(failed.error().what, HasSubstr("tunnel address " + address + " is on no interface of this host"));
    EXPECT_THAT(failed.error().hint, HasSubstr("`tunnel.address` in the configuration"));
  };
  refused("10.255.0.2");
  EXPECT_NE(access(pins.c_str(), F_OK), 0) << "a first start makes nothing";
  {
    auto first = open(kOwn);
    ASSERT_TRUE(first.ok()) << first.error().text();
    (*first)->mend();
  }
  const uint32_t program = xdp_program();
  ASSERT_NE(program, 0u);
  refused("172.16.1.255");  // the broadcast address of a network of ours is nobody's
  EXPECT_EQ(xdp_program(), program);
  EXPECT_TRUE(open("172.16.1.1").ok()) << "any address of this host";
  EXPECT_TRUE(open("").ok()) << "none is needed";
}

TEST_F(TunnelAddressTest, one_that_goes_away_is_a_warning_until_it_comes_back) {
  auto opened = open(kOwn);
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  agent::Dataplane &dataplane = **opened;
  dataplane.mend();
  EXPECT_THAT(dataplane.warnings(), IsEmpty());
  host->ip("addr flush to 10.255.0.1 dev lo");
  dataplane.mend();
  EXPECT_THAT(dataplane.warnings(),
              ElementsAre(HasSubstr("tunnel address 10.255.0.1 is on no interface of this host")));
  host->ip(std::string("addr add ") + kOwn + "/32 dev u0");
  dataplane.mend();
  EXPECT_THAT(dataplane.warnings(), IsEmpty());
}

}  // namespace
}  // namespace catsbpf::test
