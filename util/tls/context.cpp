// SPDX-License-Identifier: Apache-2.0
// TLS 1.3-only contexts from PEM files. Sessions are never resumed: each connection shows its certificate.
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "util/tls/identity.h"
#include "util/tls/load.h"
#include "util/tls/notes.h"

namespace catsbpf::tls {

namespace {

namespace ssl = boost::asio::ssl;
using Context = std::shared_ptr<ssl::context>;

Result<> load_own(SSL_CTX *context, const Files &files) {
  if (auto ok = load_certificate(context, files.certificate); !ok) return ok;
  return load_key(context, files.key, files.certificate);
}

Result<Context> bare(ssl::context::method method) {
  ERR_clear_error();
  try {
    auto context = std::make_shared<ssl::context>(method);
    SSL_CTX *raw = context->native_handle();
    if (SSL_CTX_set_min_proto_version(raw, TLS1_3_VERSION) != 1) return Error{"tls: OpenSSL has no TLS 1.3"};
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
