// SPDX-License-Identifier: Apache-2.0
// A disk that can be filled: SQLite's own file layer, whose writes fail while it is full.
#pragma once

#include <sqlite3.h>

#include <atomic>
#include <map>

namespace catsbpf::test {

class FullDisk {
 public:
  FullDisk() { install(); }
  ~FullDisk() { full_ = false; }
  FullDisk(const FullDisk &) = delete;
  void fill(bool full = true) { full_ = full; }

 private:
  // From now on databases are opened through it.
  static void install() {
    if (base_) return;
    base_ = sqlite3_vfs_find(nullptr);
    layer_ = *base_;
    layer_.zName = "disk-that-can-be-full";
    layer_.xOpen = &open;
    sqlite3_vfs_register(&layer_, 1);
  }
  static int open(sqlite3_vfs *, const char *name, sqlite3_file *file, int flags, int *flags_out) {
    const int result = base_->xOpen(base_, name, file, flags, flags_out);
    if (result != SQLITE_OK || !file->pMethods) return result;
    write_ = file->pMethods->xWrite;  // one for all kinds of files, which differ in how they lock
    const auto [methods, fresh] = methods_.try_emplace(file->pMethods, *file->pMethods);
    methods->second.xWrite = &write;
    file->pMethods = &methods->second;
    return result;
  }
  static int write(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 offset) {
    return full_ ? SQLITE_FULL : write_(file, bytes, size, offset);
  }

  static inline sqlite3_vfs *base_ = nullptr;
  static inline sqlite3_vfs layer_{};
  static inline std::map<const sqlite3_io_methods *, sqlite3_io_methods> methods_;
  static inline decltype(sqlite3_io_methods::xWrite) write_ = nullptr;
  static inline std::atomic<bool> full_ = false;
};

}  // namespace catsbpf::test
