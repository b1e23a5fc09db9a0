// SPDX-License-Identifier: Apache-2.0
// TLS 1.3-only contexts from PEM files. Sessions are never resumed: each connection shows its certificate.
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <cstdio>

#include "util/tls/identity.h"
#include "util/tls/notes.h"

namespace catsbpf::tls {

namespace {

namespace ssl = boost::asio::ssl;
using Context = std::shared_ptr<ssl::context>;

std::string openssl_reason() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  const char *reason = ERR_reason_error_string(code);
  return reason ? reason : "unknown reason";
}

Result<> readable(const std::string &what, const std::string &path) {
  std::FILE *file = std::fopen(path.c_str(), "re");
  if (!file) return system_error("tls " + what + " " + path, errno);
  std::fclose(file);
  return done();
}

Error refused(const std::string &what, const std::string &path, std::string hint = {}) {
  return Error{"tls " + what + " " + path + ": " + openssl_reason(), std::move(hint)};
}

// A daemon must not ask a terminal for the passphrase of a key.
int no_passphrase(char *, int, int, void *) { return -1; }

Result<> load_own(SSL_CTX *context, const Files &files) {
  if (auto ok = readable("certificate", files.certificate); !ok) return ok;
  if (auto ok = readable("key", files.key); !ok) return ok;
  if (SSL_CTX_use_certificate_chain_file(context, files.certificate.c_str()) != 1)
    return refused("certificate", files.certificate, "it must be PEM: the own certificate first, then its chain");
  SSL_CTX_set_default_passwd_cb(context, no_passphrase);
  if (SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM) != 1)
    return refused("key", files.key, "it must be PEM without a passphrase, and belong to " + files.certificate);
  return done();
}

Result<> load_authority(SSL_CTX *context, const std::string &authority) {
  if (auto ok = readable("authority", authority); !ok) return ok;
  if (SSL_CTX_load_verify_locations(context, authority.c_str(), nullptr) != 1)
    return refused("authority", authority, "it must be PEM: certificates of the authorities that are trusted");
  return done();
}

Result<Context> bare(ssl::context::method method) {
  try {
    auto context = std::make_shared<ssl::context>(method);
    SSL_CTX *raw = context->native_handle();
    ERR_clear_error();
    if (SSL_CTX_set_min_proto_version(raw, TLS1_3_VERSION) != 1)
      return Error{"tls: OpenSSL has no TLS 1.3: " + openssl_reason()};
    SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(raw, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(raw, 0);
    return context;
  } catch (const boost::system::system_error &error) {
    return Error{std::string("tls: cannot make a context: ") + error.what()};
  }
}

}  // namespace

Result<Context> server_context(const Files &files, PeerCertificate peer) {
  auto context = bare(ssl::context::tls_server);
  if (!context) return context;
  SSL_CTX *raw = (*context)->native_handle();
  if (auto ok = load_own(raw, files); !ok) return ok.error();
  if (peer == PeerCertificate::kRequired) {
    if (auto ok = load_authority(raw, files.authority); !ok) return ok.error();
    SSL_CTX_set_client_CA_list(raw, SSL_load_client_CA_file(files.authority.c_str()));
    SSL_CTX_set_verify(raw, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  take_notes(raw);
  return context;
}

Result<Context> client_context(const Files &files) {
  auto context = bare(ssl::context::tls_client);
  if (!context) return context;
  SSL_CTX *raw = (*context)->native_handle();
  if (!files.certificate.empty() || !files.key.empty())
    if (auto ok = load_own(raw, files); !ok) return ok.error();
  if (files.authority.empty()) {
    SSL_CTX_set_default_verify_paths(raw);
  } else if (auto ok = load_authority(raw, files.authority); !ok) {
    return ok.error();
  }
  SSL_CTX_set_verify(raw, SSL_VERIFY_PEER, nullptr);
  take_notes(raw);
  return context;
}

}  // namespace catsbpf::tls
