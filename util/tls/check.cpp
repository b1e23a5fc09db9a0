// SPDX-License-Identifier: Apache-2.0
// The files of a TLS configuration before anyone connects.
#include <openssl/x509v3.h>

#include <ctime>
#include <optional>

#include "util/tls/identity.h"
#include "util/tls/load.h"

namespace catsbpf::tls {

namespace {

struct Free {
  void operator()(SSL_CTX *context) const { SSL_CTX_free(context); }
};
using Scratch = std::unique_ptr<SSL_CTX, Free>;

std::string show(const ASN1_TIME *time) {
  std::tm broken{};
  char text[64] = "an unreadable time";
  if (ASN1_TIME_to_tm(time, &broken) == 1) std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &broken);
  return text;
}

struct Lapse {
  std::string reason, hint;
};
// Empty: the certificate is in force now.
std::optional<Lapse> lapse_of(X509 *certificate) {
  if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
    return Lapse{"has expired, on " + show(X509_get0_notAfter(certificate)),
                 "put a new certificate there, or set the clock if that is wrong"};
  if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
    return Lapse{"is not valid before " + show(X509_get0_notBefore(certificate)),
                 "set the clock if that is wrong, or wait"};
  return std::nullopt;
}

}  // namespace

Result<> check_certificate(const std::string &certificate) {
  const Scratch context(SSL_CTX_new(TLS_method()));
  if (auto loaded = load_certificate(context.get(), certificate); !loaded) return loaded;
  const std::string what = "tls certificate " + certificate + ": ";
  if (const auto lapse = lapse_of(SSL_CTX_get0_certificate(context.get())))
    return Error{what + "it " + lapse->reason, lapse->hint};
  STACK_OF(X509) *chain = nullptr;
  SSL_CTX_get0_chain_certs(context.get(), &chain);
  for (int i = 0; chain && i < sk_X509_num(chain); ++i)
    if (const auto lapse = lapse_of(sk_X509_value(chain, i)))
      return Error{what + "certificate " + std::to_string(i + 2) + " of its chain " + lapse->reason, lapse->hint};
  return done();
}

Result<> check_key(const Files &files) {
  const Scratch context(SSL_CTX_new(TLS_method()));
  if (auto loaded = load_certificate(context.get(), files.certificate); !loaded) return loaded;
  return load_key(context.get(), files.key, files.certificate);
}

// An authority that has expired may stand beside its successor.
Result<> check_authority(const std::string &authority) {
  const Scratch context(SSL_CTX_new(TLS_method()));
  if (auto loaded = load_authority(context.get(), authority); !loaded) return loaded;
  const std::string what = "tls authority " + authority + ": ";
  std::optional<Lapse> lapse;
  const auto *all = X509_STORE_get0_objects(SSL_CTX_get_cert_store(context.get()));
  for (int i = 0; i < sk_X509_OBJECT_num(all); ++i) {
    X509 *certificate = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(all, i));
    if (!certificate || X509_check_ca(certificate) == 0) continue;
    lapse = lapse_of(certificate);
    if (!lapse) return done();
  }
  if (lapse) return Error{what + "its certificate " + lapse->reason, lapse->hint};
  return Error{what + "it has no certificate of an authority (CA:TRUE)",
               "it must be the certificate that signs those of all peers, not one of theirs"};
}

}  // namespace catsbpf::tls
