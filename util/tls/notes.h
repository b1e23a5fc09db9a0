// SPDX-License-Identifier: Apache-2.0
// What our callbacks saw during a handshake, kept with the SSL object until someone asks why it failed:
// OpenSSL's own error says neither what the peer offered nor whose certificate was refused.
#pragma once

#include <openssl/ssl.h>

#include <string>

namespace catsbpf::tls {

struct Notes {
  int offered_version = 0;  // highest TLS version of the client's hello
  std::string refused;      // identity or subject of the certificate that failed
};

Notes &notes_of(SSL *ssl);
// Makes handshakes of this context take notes.
void take_notes(SSL_CTX *context);

}  // namespace catsbpf::tls
