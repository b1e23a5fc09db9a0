// SPDX-License-Identifier: Apache-2.0
#include "util/tls/notes.h"

#include <openssl/x509_vfy.h>

#include <algorithm>

#include "util/tls/identity.h"

namespace catsbpf::tls {

namespace {

void free_notes(void *, void *notes, CRYPTO_EX_DATA *, int, long, void *) { delete static_cast<Notes *>(notes); }

int notes_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, free_notes);
  return index;
}

int note_offered_version(SSL *ssl, int *, void *) {
  int offered = static_cast<int>(SSL_client_hello_get0_legacy_version(ssl));
  const unsigned char *list = nullptr;
  std::size_t length = 0;
  if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_supported_versions, &list, &length) && length > 0) {
    offered = 0;
    // A length byte, then versions of two bytes; values outside TLS (GREASE) are no versions.
    for (std::size_t i = 1; i + 1 < length; i += 2) {
      const int version = list[i] << 8 | list[i + 1];
      if (version >= SSL3_VERSION && version <= TLS1_3_VERSION) offered = std::max(offered, version);
    }
  }
  notes_of(ssl).offered_version = offered;
  return SSL_CLIENT_HELLO_SUCCESS;
}

int note_refused_certificate(int ok, X509_STORE_CTX *store) {
  auto *ssl = static_cast<SSL *>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  X509 *certificate = X509_STORE_CTX_get0_cert(store);
  if (!ok && ssl && certificate) {
    auto identity = identity_of(certificate);
    char subject[256] = "";
    X509_NAME_oneline(X509_get_subject_name(certificate), subject, sizeof subject);
    notes_of(ssl).refused = identity ? identity->uri() : subject;
  }
  return ok;
}

}  // namespace

Notes &notes_of(SSL *ssl) {
  auto *notes = static_cast<Notes *>(SSL_get_ex_data(ssl, notes_index()));
  if (!notes) {
    notes = new Notes;
    SSL_set_ex_data(ssl, notes_index(), notes);
  }
  return *notes;
}

void take_notes(SSL_CTX *context) {
  SSL_CTX_set_client_hello_cb(context, note_offered_version, nullptr);
  SSL_CTX_set_verify(context, SSL_CTX_get_verify_mode(context), note_refused_certificate);
}

}  // namespace catsbpf::tls
