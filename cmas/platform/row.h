// SPDX-License-Identifier: Apache-2.0
// A Service as a row of the table `services`: one column per field, texts and numbers as they are, lists and nested
// messages as JSON, so that sqlite3 shows table 1 of the draft as people know it.
#pragma once

#include <string>

#include "cmas/platform/sqlite.h"
#include "cmas/proto/service.pb.h"

namespace catsbpf::cmas {

std::string create_services_table();
std::string select_services();  // "SELECT all columns FROM services"
Result<v1::Service> read_row(const Statement &row);
Result<> write_row(Database &database, const v1::Service &service);  // inserts or replaces

// Every word of `search` is in one of the nine columns of table 1 (or the CS-ID), letter case (ASCII) aside.
bool matches(const v1::Service &service, const std::string &search);

}  // namespace catsbpf::cmas
