// SPDX-License-Identifier: Apache-2.0
// Number formats, argument parsing and the table itself.
#include "cli/format.h"

#include <gtest/gtest.h>

#include "cli/arguments.h"
#include "cli/options.h"
#include "cli/table.h"
#include "tests/unit/cli_support.h"

namespace catsbpf::cli {
namespace {

TEST(CliFormat, counts_take_si_units_from_five_digits_on) {
  EXPECT_EQ(si(0), "0");
  EXPECT_EQ(si(9'999), "9999");
  EXPECT_EQ(si(10'000), "10.0k");
  EXPECT_EQ(si(12'345), "12.3k");
  EXPECT_EQ(si(99'949), "99.9k");
  EXPECT_EQ(si(99'951), "100k");
  EXPECT_EQ(si(999'499), "999k");
  EXPECT_EQ(si(999'500), "1.00M");
  EXPECT_EQ(si(4'567'000), "4.57M");
  EXPECT_EQ(si(UINT64_MAX), "18.4E");
}

TEST(CliFormat, bytes_name_their_unit) {
  EXPECT_EQ(bytes(0), "0 B");
  EXPECT_EQ(bytes(999), "999 B");
  EXPECT_EQ(bytes(1'000), "1.00 kB");
  EXPECT_EQ(bytes(123'456'789), "123 MB");
}

TEST(CliFormat, durations_shorten_with_length) {
  EXPECT_EQ(duration(-1), "-");
  EXPECT_EQ(duration(0.25), "0.25s");
  EXPECT_EQ(duration(9.996), "10s");
  EXPECT_EQ(duration(119), "119s");
  EXPECT_EQ(duration(125), "2m");
  EXPECT_EQ(duration(3 * 3600 + 5 * 60), "3h05m");
  EXPECT_EQ(duration(2 * 86400 + 4 * 3600), "2d04h");
}

TEST(CliFormat, unknown_figures_are_a_dash) {
  EXPECT_EQ(milliseconds(-1), "-");
  EXPECT_EQ(milliseconds(0.254), "0.25");
  EXPECT_EQ(milliseconds(25.12), "25.1");
  EXPECT_EQ(milliseconds(1234.4), "1234");
  EXPECT_EQ(mbps(-1), "-");
  EXPECT_EQ(percent(-1), "-");
  EXPECT_EQ(percent(1.0 / 3), "33.3%");
  EXPECT_EQ(decimal(0.5), "0.5");
  EXPECT_EQ(or_dash(""), "-");
}

TEST(CliFormat, ports_of_ipv6_addresses_stand_after_brackets) {
  EXPECT_EQ(endpoint("10.1.0.2", 80), "10.1.0.2:80");
  EXPECT_EQ(endpoint("fd00::1", 80), "[fd00::1]:80");
}

TEST(CliFormat, text_from_outside_cannot_move_the_terminal) {
  EXPECT_EQ(printable("AR1\033[2J\n\x7f"), "AR1?[2J??");
  EXPECT_EQ(printable("a\xc2\x9b"
                      "b"),
            "a?b");
  EXPECT_EQ(printable("caf\xc3\xa9"), "caf\xc3\xa9");
  EXPECT_EQ(width("caf\xc3\xa9"), 4U);
}

TEST(CliTable, columns_align_and_end_without_blanks) {
  Table table({{"NAME"}, {"COUNT", Align::right}, {"STATE"}});
  table.row({"a", "1", "up"});
  table.row({"longer", "12345", ""});
  EXPECT_EQ(table.render({}), "NAME    COUNT  STATE\na           1  up\nlonger  12345\n");
}

TEST(CliTable, too_wide_a_table_narrows_gaps_before_it_shortens) {
  Table table({{"A", Align::left, Shorten::end, 4}, {"B"}});
  table.row({"123456789", "xy"});
  EXPECT_EQ(table.render({.width = 12}), "A         B\n123456789 xy\n");
  EXPECT_EQ(table.render({.width = 11}), "A        B\n123456.. xy\n");
}

TEST(CliTable, addresses_keep_both_ends) {
  Table table({{"ADDRESS", Align::left, Shorten::middle, 8}});
  table.row({"[2001:db8:1111:2222::1]:443"});
  EXPECT_EQ(table.render({.width = 16}), "ADDRESS\n[2001:..::1]:443\n");
}

TEST(CliTable, colour_only_on_a_terminal) {
  Table table({{"A"}});
  table.row({"x"}, true);
  EXPECT_EQ(table.render({}), "A\nx\n");
  EXPECT_EQ(table.render({.width = 100, .colour = true}), "\033[1mA\033[0m\n\033[31mx\033[0m\n");
}

TEST(CliTable, notes_wrap_under_their_row) {
  Table table({{"A"}});
  table.row({"x"});
  table.note("one two three four");
  EXPECT_EQ(table.render({.width = 15}), "A\nx\n    one two\n    three four\n");
}

constexpr OptionSpec kSpecs[] = {{"gas", "N", ""}, {"all", nullptr, ""}};

TEST(CliArguments, options_stand_anywhere) {
  const auto arguments = Arguments::parse(kSpecs, {"one", "--gas", "5", "two", "--all"});
  ASSERT_TRUE(arguments.ok());
  EXPECT_EQ(arguments->positional(), (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(arguments->text("gas"), "5");
  EXPECT_TRUE(arguments->has("all"));
}

TEST(CliArguments, a_signed_change_is_a_value_and_no_option) {
  EXPECT_EQ(Arguments::parse(kSpecs, {"--gas", "-1"})->text("gas"), "-1");
  EXPECT_EQ(Arguments::parse(kSpecs, {"--gas=+1"})->text("gas"), "+1");
}

TEST(CliArguments, unknown_incomplete_and_repeated_options_are_refused) {
  for (const std::vector<std::string> &words : {std::vector<std::string>{"--nope"},
                                                {"--gas"},
                                                {"--gas", "1", "--gas", "2"},
                                                {"--all=yes"},
                                                {"--al"},
                                                {"--gas", "--all"}}) {
    const auto arguments = Arguments::parse(kSpecs, words);
    ASSERT_FALSE(arguments.ok()) << words[0];
    EXPECT_EQ(arguments.error().code, kUsage);
  }
}

TEST(CliArguments, a_sign_makes_a_change_and_none_a_value) {
  EXPECT_TRUE(parse_amount("gas", "+1")->relative);
  EXPECT_EQ(parse_amount("gas", "+1")->value, 1);
  EXPECT_TRUE(parse_amount("gas", "-2")->relative);
  EXPECT_EQ(parse_amount("gas", "-2")->value, -2);
  EXPECT_FALSE(parse_amount("gas", "1")->relative);
  for (const char *wrong : {"", "+", "x", "1x", "+-1", "++1", "1.5", "9999999999", "1000001"})
    EXPECT_FALSE(parse_amount("gas", wrong).ok()) << wrong;
}

TEST(CliArguments, numbers_are_whole_and_within_their_bounds) {
  EXPECT_EQ(*parse_number("id", "4294967295"), 4'294'967'295U);
  EXPECT_EQ(*parse_number("id", "18446744073709551615", UINT64_MAX), UINT64_MAX);
  for (const char *wrong : {"", "-1", "1.0", "4294967296", " 1", "0x10"})
    EXPECT_FALSE(parse_number("id", wrong).ok()) << wrong;
  EXPECT_EQ(*parse_decimal("cost", "0.5"), 0.5);
  for (const char *wrong : {"", "-1", "nan", "inf", "1e999", "1,5"})
    EXPECT_FALSE(parse_decimal("cost", wrong).ok()) << wrong;
}

TEST(CliOptions, command_line_comes_before_environment) {
  const auto environment = [](const char *name) {
    return std::string(name) == "CATSBPF_SOCKET" ? "/env.sock" : nullptr;
  };
  const auto defaults =
      options_from(*Arguments::parse(global_options(), {}), [](const char *) -> const char * { return nullptr; });
  EXPECT_EQ(defaults.socket, "/run/catsbpf/catsbpfd.sock");
  EXPECT_EQ(defaults.pins, "/sys/fs/bpf/catsbpf");
  EXPECT_EQ(options_from(*Arguments::parse(global_options(), {}), environment).socket, "/env.sock");
  EXPECT_EQ(options_from(*Arguments::parse(global_options(), {"--socket", "/me.sock"}), environment).socket,
            "/me.sock");
}

TEST(CliOptions, an_api_without_address_names_its_variable) {
  Options options;
  const auto url = options.url_of(Api::site);
  ASSERT_FALSE(url.ok());
  EXPECT_EQ(url.error().code, kUsage);
  EXPECT_NE(url.error().hint.find("CATSBPF_SITE_URL"), std::string::npos);
  options.platform_url = "https://p";
  EXPECT_EQ(*options.url_of(Api::platform), "https://p");
  options.url = "https://other";
  EXPECT_EQ(*options.url_of(Api::platform), "https://other");
  EXPECT_EQ(*options.url_of(Api::agent), "unix:/run/catsbpf/catsbpfd.sock");
}

TEST(CliOptions, what_goes_into_a_url_is_encoded) { EXPECT_EQ(url_encoded("a b/ä&1"), "a%20b%2F%C3%A4%261"); }

}  // namespace
}  // namespace catsbpf::cli
