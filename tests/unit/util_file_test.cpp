// SPDX-License-Identifier: Apache-2.0
// Files that a person names: what cannot be read is told, and nobody hangs on it.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/unit/util_certificates.h"
#include "util/file.h"

namespace catsbpf {
namespace {

class Files : public ::testing::Test {
 protected:
  std::string refused(const std::string &path) {
    const auto text = read_file(path);
    return text ? "" : text.error().what;
  }
  test::Folder folder_;
};

TEST_F(Files, a_text_is_read_whole) {
  const std::string text(200'000, 'x');
  std::ofstream(folder_.file("a")) << text;
  EXPECT_EQ(*read_file(folder_.file("a")), text);
  EXPECT_FALSE(read_file("/proc/self/status")->empty()) << "it says that it has no bytes";
}

TEST_F(Files, pipes_devices_and_directories_are_refused_at_once) {
  ASSERT_EQ(::mkfifo(folder_.file("fifo").c_str(), 0600), 0);
  std::filesystem::create_directory(folder_.file("folder"));
  EXPECT_EQ(refused(folder_.file("none")), "No such file or directory");
  EXPECT_EQ(refused(folder_.file("folder")), "Is a directory");
  for (const auto &path : {folder_.file("fifo"), std::string("/dev/zero"), std::string("/dev/tty")}) {
    if (::access(path.c_str(), R_OK) != 0) continue;
    EXPECT_EQ(refused(path), "it is no regular file") << path;
    EXPECT_EQ(can_read(path).error().what, "it is no regular file") << path;
  }
}

TEST_F(Files, one_that_is_too_large_is_refused) {
  std::ofstream(folder_.file("large")) << "x";
  std::filesystem::resize_file(folder_.file("large"), kMostText);
  EXPECT_TRUE(read_file(folder_.file("large")));
  std::filesystem::resize_file(folder_.file("large"), kMostText + 1);
  EXPECT_EQ(refused(folder_.file("large")), "it has more than 16 MiB");
  EXPECT_TRUE(read_file(folder_.file("large"), 2 * kMostText));
}

}  // namespace
}  // namespace catsbpf
