// SPDX-License-Identifier: Apache-2.0
// From an error code and the SSL object to a sentence for the log.
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/sslerr.h>

#include <boost/asio/error.hpp>
#include <boost/asio/ssl/error.hpp>

#include "util/tls/identity.h"
#include "util/tls/notes.h"

namespace catsbpf::tls {

namespace {

std::string version_name(int version) {
  switch (version) {
    case TLS1_3_VERSION: return "TLS 1.3";
    case TLS1_2_VERSION: return "TLS 1.2";
    case TLS1_1_VERSION: return "TLS 1.1";
    case TLS1_VERSION: return "TLS 1.0";
    case SSL3_VERSION: return "SSL 3.0";
    default: return "an unknown TLS version";
  }
}

Error version_refused(SSL *ssl) {
  const int offered = ssl ? notes_of(ssl).offered_version : 0;
  return Error{offered ? "peer offers only " + version_name(offered) : "peer chose a TLS version older than 1.3",
               "both sides need TLS 1.3"};
}

// Why, and the way out.
std::pair<std::string, std::string> refusal(long verdict) {
  switch (verdict) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return {"it has expired", "give the peer a new certificate, or set the clock of this machine if that is wrong"};
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return {"it is not yet valid", "compare the clocks of this machine and of the one that made the certificate"};
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return {"it is not signed by the authority that is trusted here",
              "have it signed by that authority, or trust its own here, too"};
    case X509_V_ERR_INVALID_PURPOSE:
      return {"its extended key usage does not allow this",
              "the certificate needs serverAuth to be called and clientAuth to call"};
    case X509_V_ERR_HOSTNAME_MISMATCH:
      return {"it does not name the host of the url", "call the host by a name that its certificate has"};
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return {"it does not name the address of the url", "call the host by an address that its certificate has"};
    default: return {X509_verify_cert_error_string(verdict), ""};
  }
}

Error refused_certificate(SSL *ssl) {
  if (!ssl) return Error{"certificate of the peer is refused"};
  const auto [why, hint] = refusal(SSL_get_verify_result(ssl));
  const std::string &who = notes_of(ssl).refused;
  return Error{"certificate of the peer" + (who.empty() ? "" : " (" + who + ")") + " is refused: " + why, hint};
}

// Alerts are what the peer says of us.
Error alert(int number, SSL *ssl) {
  const std::string ours = "peer refuses our certificate: ";
  switch (number) {
    case SSL_AD_PROTOCOL_VERSION: {
      const long highest = ssl ? SSL_get_max_proto_version(ssl) : 0;
      if (highest == 0 || highest >= TLS1_3_VERSION)
        return Error{"peer offers only TLS 1.2 or older", "both sides need TLS 1.3"};
      return Error{"peer refuses our TLS version: it wants TLS 1.3, we offer only " +
                   version_name(static_cast<int>(highest))};
    }
    case SSL_AD_CERTIFICATE_EXPIRED:
      return Error{ours + "it has expired (or is not yet valid)",
                   "put a new certificate in place and start anew, or set the peer's clock if that is wrong"};
    case SSL_AD_CERTIFICATE_REVOKED: return Error{ours + "it is revoked", "put a new certificate in place"};
    case SSL_AD_UNKNOWN_CA:
      return Error{ours + "it does not trust the authority that signed it",
                   "have it signed by the peer's authority, or have the peer trust this one, too"};
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_UNKNOWN: return Error{ours + SSL_alert_desc_string_long(number), "the peer's log says why"};
    case SSL_AD_ACCESS_DENIED: return Error{ours + "access denied", "the peer's log says why"};
    case TLS13_AD_CERTIFICATE_REQUIRED:
      return Error{"peer requires a certificate and we present none", "configure a certificate and its key"};
    default: return Error{std::string("peer refuses: ") + SSL_alert_desc_string_long(number)};
  }
}

Error openssl_error(unsigned long code) {
  const char *text = ERR_reason_error_string(code);
  return Error{text ? text : "tls error " + std::to_string(code)};
}

Error ssl_library_error(unsigned long code, SSL *ssl) {
  const int reason = ERR_GET_REASON(code);
  if (reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256)
    return alert(reason - SSL_AD_REASON_OFFSET, ssl);
  switch (reason) {
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_NO_PROTOCOLS_AVAILABLE: return version_refused(ssl);
    case SSL_R_CERTIFICATE_VERIFY_FAILED: return refused_certificate(ssl);
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return Error{"peer presents no certificate", "give it a certificate of the same authority"};
    case SSL_R_HTTP_REQUEST: return Error{"peer speaks plain HTTP, not TLS", "call it by https://"};
    case SSL_R_WRONG_VERSION_NUMBER: return Error{"peer does not speak TLS", "is it the right address and port?"};
    case SSL_R_UNEXPECTED_EOF_WHILE_READING: return Error{"peer closed the connection"};
    default: return openssl_error(code);
  }
}

}  // namespace

Error handshake_error(const boost::system::error_code &error, SSL *ssl) {
  namespace asio = boost::asio;
  if (error == asio::error::eof || error == asio::ssl::error::stream_truncated)
    return Error{"peer closed the connection"};
  if (error == asio::error::operation_aborted) return Error{"given up"};
  if (error.category() == asio::error::get_ssl_category()) {
    const auto code = static_cast<unsigned long>(static_cast<unsigned int>(error.value()));
    return ERR_GET_LIB(code) == ERR_LIB_SSL ? ssl_library_error(code, ssl) : openssl_error(code);
  }
  std::string text = error.message();
  if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z') text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return Error{text, {}, error.value()};
}

std::string handshake_reason(const boost::system::error_code &error, SSL *ssl) {
  return handshake_error(error, ssl).what;
}

}  // namespace catsbpf::tls
