// SPDX-License-Identifier: Apache-2.0
// PEM files into an OpenSSL context. Each fails naming the file, the reason and the way out.
#pragma once

#include <openssl/ssl.h>

#include <string>

#include "util/result.h"

namespace catsbpf::tls {

Result<> load_certificate(SSL_CTX *context, const std::string &certificate);  // the own one, then its chain
// After the certificate, which it must fit.
Result<> load_key(SSL_CTX *context, const std::string &key, const std::string &certificate);
Result<> load_authority(SSL_CTX *context, const std::string &authority);

}  // namespace catsbpf::tls
