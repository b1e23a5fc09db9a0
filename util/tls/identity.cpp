// SPDX-License-Identifier: Apache-2.0
#include "util/tls/identity.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>

namespace catsbpf::tls {

namespace {

struct Free {
  void operator()(X509 *certificate) const { X509_free(certificate); }
  void operator()(GENERAL_NAMES *names) const { GENERAL_NAMES_free(names); }
  void operator()(BIO *bio) const { BIO_free(bio); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

bool is_plain_word(const std::string &text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_';
  });
}

// Text of a certificate goes to logs and terminals.
std::string printable(std::string text) {
  for (char &c : text)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e) c = '?';
  return text.substr(0, 200);
}

Result<std::vector<std::string>> uri_names(X509 *certificate) {
  int critical = 0;
  const Owned<GENERAL_NAMES> names(
      static_cast<GENERAL_NAMES *>(X509_get_ext_d2i(certificate, NID_subject_alt_name, &critical, nullptr)));
  std::vector<std::string> uris;
  if (!names && critical != -1) return Error{"certificate has a subject alternative name that cannot be read"};
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;
    uris.emplace_back(reinterpret_cast<const char *>(ASN1_STRING_get0_data(uri)), ASN1_STRING_length(uri));
  }
  return uris;
}

}  // namespace

Result<Identity> identity_of(X509 *certificate) {
  const std::string hint = "certificates carry exactly one URI SAN spiffe://DOMAIN/ROLE/NAME";
  if (!certificate) return Error{"peer presents no certificate", hint};
  auto uris = uri_names(certificate);
  if (!uris) return uris.error();
  if (uris->empty()) return Error{"certificate has no URI SAN", hint};
  if (uris->size() > 1)
    return Error{"certificate has " + std::to_string(uris->size()) + " URI SANs (" + printable((*uris)[0]) + ", " +
                     printable((*uris)[1]) + (uris->size() > 2 ? ", ..." : "") + "), expected exactly one",
                 hint};
  const std::string &uri = uris->front();
  const std::string scheme = "spiffe://";
  const auto role = uri.find('/', scheme.size());
  const auto name = role == std::string::npos ? role : uri.find('/', role + 1);
  Identity identity;
  if (uri.starts_with(scheme) && name != std::string::npos) {
    identity.domain = uri.substr(scheme.size(), role - scheme.size());
    identity.role = uri.substr(role + 1, name - role - 1);
    identity.name = uri.substr(name + 1);
  }
  if (!is_plain_word(identity.domain) || !is_plain_word(identity.role) || !is_plain_word(identity.name))
    return Error{"certificate has the URI SAN '" + printable(uri) + "', which is not spiffe://DOMAIN/ROLE/NAME", hint};
  return identity;
}

Result<Identity> identity_of_file(const std::string &certificate_pem) {
  const Owned<BIO> file(BIO_new_file(certificate_pem.c_str(), "r"));
  if (!file) return system_error("tls certificate " + certificate_pem, errno);
  const Owned<X509> certificate(PEM_read_bio_X509(file.get(), nullptr, nullptr, nullptr));
  if (!certificate) return Error{"tls certificate " + certificate_pem + ": not a PEM certificate"};
  auto identity = identity_of(certificate.get());
  if (!identity) return Error{certificate_pem + ": " + identity.error().what, identity.error().hint};
  return identity;
}

Result<> accepts(const Expected &expected, const Identity &identity) {
  const std::string is = "certificate is " + identity.uri() + ", expected ";
  if (identity.domain != expected.domain)
    return Error{is + "domain " + expected.domain, "one trust domain is configured for all"};
  if (identity.role != expected.role)
    return Error{is + "role " + expected.role, "the role stands in the URI SAN: spiffe://DOMAIN/ROLE/NAME"};
  if (expected.names.empty() ||
      std::find(expected.names.begin(), expected.names.end(), identity.name) != expected.names.end())
    return done();
  std::string names;
  for (const auto &name : expected.names) names += (names.empty() ? "" : " or ") + name;
  return Error{is + "name " + names, "the names that may come are configured by whoever refuses"};
}

Result<Identity> verify_peer(SSL *ssl, const Expected &expected) {
  const Owned<X509> certificate(SSL_get1_peer_certificate(ssl));
  if (!certificate) return Error{"peer presents no certificate", "give it a certificate of the same authority"};
  // The handshake has checked both already; a context made elsewhere may not have.
  if (const long verdict = SSL_get_verify_result(ssl); verdict != X509_V_OK)
    return Error{std::string("certificate is refused: ") + X509_verify_cert_error_string(verdict)};
  if (SSL_version(ssl) != TLS1_3_VERSION)
    return Error{std::string("peer speaks ") + SSL_get_version(ssl) + ", not TLS 1.3"};
  auto identity = identity_of(certificate.get());
  if (!identity) return identity;
  if (auto accepted = accepts(expected, *identity); !accepted) return accepted.error();
  return identity;
}

}  // namespace catsbpf::tls
