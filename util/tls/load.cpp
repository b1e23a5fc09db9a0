// SPDX-License-Identifier: Apache-2.0
#include "util/tls/load.h"

#include <openssl/err.h>

#include "util/file.h"

namespace catsbpf::tls {

namespace {

Result<> readable(const std::string &what, const std::string &path) {
  const auto can = can_read(path);
  if (can) return done();
  return Error{"tls " + what + " " + path + ": " + can.error().what, "it must be a PEM file that this program may read",
               can.error().code};
}

Error refused(const std::string &what, const std::string &path, const std::string &hint) {
  const char *reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return Error{"tls " + what + " " + path + ": " + (reason ? reason : "unknown reason"), hint};
}

// A daemon must not ask a terminal for the passphrase of a key.
int no_passphrase(char *, int, int, void *) { return -1; }

}  // namespace

Result<> load_certificate(SSL_CTX *context, const std::string &certificate) {
  if (auto ok = readable("certificate", certificate); !ok) return ok;
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1)
    return refused("certificate", certificate, "it must be PEM: the own certificate first, then its chain");
  return done();
}

Result<> load_key(SSL_CTX *context, const std::string &key, const std::string &certificate) {
  if (auto ok = readable("key", key); !ok) return ok;
  SSL_CTX_set_default_passwd_cb(context, no_passphrase);
  // A key of another kind than the certificate's (RSA, EC) is taken by the first call.
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context) != 1)
    return refused("key", key, "it must be PEM without a passphrase, and belong to " + certificate);
  return done();
}

Result<> load_authority(SSL_CTX *context, const std::string &authority) {
  if (auto ok = readable("authority", authority); !ok) return ok;
  if (SSL_CTX_load_verify_locations(context, authority.c_str(), nullptr) != 1)
    return refused("authority", authority, "it must be PEM: certificates of the authorities that are trusted");
  return done();
}

}  // namespace catsbpf::tls
