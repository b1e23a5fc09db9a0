// SPDX-License-Identifier: Apache-2.0
// Files: the shipped catalogue, and what is told of broken catalogues and configurations.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "cmas/platform/catalogue.h"
#include "cmas/platform/config.h"
#include "tests/unit/util_certificates.h"

namespace catsbpf::cmas {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class PlatformFiles : public ::testing::Test {
 protected:
  std::string write(const std::string &name, const std::string &text) {
    std::ofstream(folder_.file(name)) << text;
    return folder_.file(name);
  }
  // The error of a catalogue with this text, without the folder's name.
  std::string refused(const std::string &text) {
    const auto file = write("c.yaml", text);
    const auto services = load_catalogue(file);
    if (services) return "";
    std::string error = services.error().what;
    for (auto at = error.find(file); at != std::string::npos; at = error.find(file))
      error.replace(at, file.size(), "c.yaml");
    return error;
  }
  test::Folder folder_;
};

TEST_F(PlatformFiles, shipped_catalogue_has_the_four_services_of_table_1) {
  const auto services = load_catalogue(std::string(__FILE__).substr(0, std::string(__FILE__).rfind("/tests/")) +
                                       "/cmas/platform/services.yaml");
  ASSERT_TRUE(services) << services.error().text();
  ASSERT_EQ(services->size(), 4u);
  std::map<std::string, std::uint32_t> numbers;
  for (const auto &service : *services) {
    numbers[service.service_id()] = service.cs_id();
    EXPECT_FALSE(service.service_name().empty() || service.input().empty() || service.service_description().empty() ||
                 service.service_running_code().empty() || service.computing_requirement().empty() ||
                 service.storage_requirement().empty() || service.computing_time().text().empty() ||
                 service.software_dependency().empty())
        << service.service_id();
    EXPECT_EQ(service.locators(0).prefix(), "10.99.0." + std::to_string(service.cs_id()));
    EXPECT_EQ(service.locators(1).prefix(), "fd00:99::" + std::to_string(service.cs_id()));
  }
  EXPECT_EQ(numbers, (std::map<std::string, std::uint32_t>{{"AR1", 1}, {"TP1", 2}, {"LB1", 4}, {"ST1", 3}}));
}

TEST_F(PlatformFiles, catalogue_tells_all_problems_with_their_lines) {
  EXPECT_EQ(refused("services:\n"
                    "  - service_id: A\n"
                    "    cs_id: many\n"
                    "    colour: red\n"
                    "  - service_id: B\n"
                    "    cs_id: 2\n"
                    "    locators:\n"
                    "      - prefix: 10.0.0.300\n"
                    "      - prefix: 10.0.0.1\n"
                    "      - prefix: 10.0.0.2\n"
                    "        port_min: 70000\n"
                    "        protocol: tcp\n"
                    "  - service_id: B\n"
                    "    cs_id: 2\n"
                    "    locators: [{prefix: 10.0.0.1}]\n"),
            "c.yaml:3: services[0].cs_id: 'many' is not a whole number from 0 on\n"
            "hint: write digits alone, without a unit\n"
            "c.yaml:4: services[0].colour: is not a field\n"
            "hint: the fields are service_id, cs_id, service_name, input, service_description, service_running_code, "
            "computing_requirement, storage_requirement, computing_time, software_dependency, locators, affinity, "
            "policy, sla, revision\n"
            "c.yaml:8: services[1].locators[0].prefix: '10.0.0.300' is not an address or a prefix\n"
            "hint: write 10.99.0.1, 10.99.0.0/24 or fd00:99::1\n"
            "c.yaml:11: services[1].locators[2].port_min: is larger than 65535\n"
            "c.yaml:13: services[2].service_id: 'B' is there already, see B (line 5)\n"
            "c.yaml:14: services[2].cs_id: 2 belongs to service B (line 5)\n"
            "hint: each service has a number of its own\n"
            "c.yaml:15: services[2].locators: 10.0.0.1 is claimed by service B (line 5)\n"
            "hint: one address, protocol and port leads to one service");
}

TEST_F(PlatformFiles, catalogue_that_is_no_catalogue_is_told_as_such) {
  EXPECT_EQ(refused("a: [b"),
            "c.yaml:1: not YAML: end of sequence flow not found\n"
            "hint: check the brackets, and the blanks at the beginning of this line and the one before");
  EXPECT_EQ(refused(""), "c.yaml: is empty\nhint: fields of ServiceCatalogue: services, revision");
  EXPECT_EQ(refused("- a\n"), "c.yaml:1: must be a mapping (key: value)\nhint: the fields are services, revision");
  EXPECT_EQ(refused("services: 3\n"),
            "c.yaml:1: services: must be a list\nhint: write [a, b] or lines that begin with '- '");
  EXPECT_THAT(load_catalogue(folder_.file("none.yaml")).error().what,
              HasSubstr("none.yaml: No such file or directory"));
  ASSERT_EQ(::mkfifo(folder_.file("pipe").c_str(), 0600), 0);
  EXPECT_EQ(load_config(folder_.file("pipe")).error().what,
            folder_.file("pipe") + ": it is no regular file\nhint: name a file, not a pipe or a device");
}

TEST_F(PlatformFiles, json_of_the_api_is_a_catalogue) {
  const auto file = write(
      "c.json",
      R"({"revision":7,"services":[{"service_id":"A","cs_id":1,"locators":[{"prefix":"10.0.0.1","protocol":""}]}]})");
  const auto services = load_catalogue(file);
  ASSERT_TRUE(services) << services.error().text();
  EXPECT_EQ(services->front().locators(0).prefix(), "10.0.0.1");
}

TEST_F(PlatformFiles, configuration_takes_paths_from_its_folder) {
  write("token", "0123456789abcdef\n");
  ASSERT_EQ(::chmod(folder_.file("token").c_str(), 0600), 0);
  const auto file =
      write("p.yaml", "listen: 127.0.0.1:0\ndatabase: p.db\ncatalogue: /x/services.yaml\nwrite_token_file: token\n");
  const auto settings = load_config(file);
  ASSERT_TRUE(settings) << settings.error().text();
  EXPECT_EQ(settings->file.database(), folder_.file("p.db"));
  EXPECT_EQ(settings->file.catalogue(), "/x/services.yaml");
  EXPECT_EQ(settings->write_token, "0123456789abcdef");
  EXPECT_EQ(settings->file.log_level(), "info");
}

TEST_F(PlatformFiles, configuration_tells_all_problems_with_their_lines) {
  write("token", "short\n");
  ASSERT_EQ(::chmod(folder_.file("token").c_str(), 0644), 0);
  const test::Authority authority(folder_, "lab");
  const auto agent = authority.issue("egress", "f2");
  const auto file = write("p.yaml",
                          "listen: everywhere\n"
                          "log_level: loud\n"
                          "write_token_file: token\n"
                          "colour: red\n"
                          "tls: {domain: lab.cats, certificate: " +
                              agent.certificate + ", key: " + agent.key + "}\n");
  const auto settings = load_config(file);
  ASSERT_FALSE(settings);
  for (const std::string &part :
       {std::string(":1: listen: 'everywhere' is not ADDRESS:PORT"), std::string(":2: log_level: 'loud' is not known"),
        std::string(":3: write_token_file: "), std::string("can be read by everyone"),
        std::string("fewer than 16 characters"), std::string(":4: colour: is not a field"),
        std::string(":5: tls.certificate: certificate is spiffe://lab.cats/egress/f2, expected role platform"),
        std::string("database: is missing")})
    EXPECT_THAT(settings.error().what, HasSubstr(part));
}

}  // namespace
}  // namespace catsbpf::cmas
