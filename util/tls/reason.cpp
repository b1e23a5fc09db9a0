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

std::string version_refused(SSL *ssl) {
  const int offered = ssl ? notes_of(ssl).offered_version : 0;
  if (offered) return "peer offers only " + version_name(offered);
  return "peer chose a TLS version older than 1.3";
}

std::string refused_certificate(SSL *ssl) {
  if (!ssl) return "certificate of the peer is refused";
  const long verdict = SSL_get_verify_result(ssl);
  std::string why = X509_verify_cert_error_string(verdict);
  switch (verdict) {
    case X509_V_ERR_CERT_HAS_EXPIRED: why = "it has expired"; break;
    case X509_V_ERR_CERT_NOT_YET_VALID: why = "it is not yet valid"; break;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE: why = "it is not signed by the authority that is trusted here"; break;
    case X509_V_ERR_INVALID_PURPOSE: why = "its extended key usage does not allow this"; break;
    case X509_V_ERR_HOSTNAME_MISMATCH: why = "it does not name the host of the url"; break;
    case X509_V_ERR_IP_ADDRESS_MISMATCH: why = "it does not name the address of the url"; break;
    default: break;
  }
  const std::string &who = notes_of(ssl).refused;
  return "certificate of the peer" + (who.empty() ? "" : " (" + who + ")") + " is refused: " + why;
}

// Alerts are what the peer says of us.
std::string alert(int number, SSL *ssl) {
  switch (number) {
    case SSL_AD_PROTOCOL_VERSION: {
      const long highest = ssl ? SSL_get_max_proto_version(ssl) : 0;
      if (highest == 0 || highest >= TLS1_3_VERSION) return "peer offers only TLS 1.2 or older";
      return "peer refuses our TLS version: it wants TLS 1.3, we offer only " + version_name(static_cast<int>(highest));
    }
    case SSL_AD_CERTIFICATE_EXPIRED: return "peer refuses our certificate: it has expired (or is not yet valid)";
    case SSL_AD_CERTIFICATE_REVOKED: return "peer refuses our certificate: it is revoked";
    case SSL_AD_UNKNOWN_CA: return "peer refuses our certificate: it does not trust the authority that signed it";
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_UNKNOWN:
      return std::string("peer refuses our certificate: ") + SSL_alert_desc_string_long(number);
    case SSL_AD_ACCESS_DENIED: return "peer refuses our certificate: access denied";
    case TLS13_AD_CERTIFICATE_REQUIRED: return "peer requires a certificate and we present none";
    default: return std::string("peer refuses: ") + SSL_alert_desc_string_long(number);
  }
}

std::string ssl_library_reason(unsigned long code, SSL *ssl) {
  const int reason = ERR_GET_REASON(code);
  if (reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256)
    return alert(reason - SSL_AD_REASON_OFFSET, ssl);
  switch (reason) {
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_NO_PROTOCOLS_AVAILABLE: return version_refused(ssl);
    case SSL_R_CERTIFICATE_VERIFY_FAILED: return refused_certificate(ssl);
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return "peer presents no certificate";
    case SSL_R_HTTP_REQUEST: return "peer speaks plain HTTP, not TLS";
    case SSL_R_WRONG_VERSION_NUMBER: return "peer does not speak TLS";
    case SSL_R_UNEXPECTED_EOF_WHILE_READING: return "peer closed the connection";
    default: {
      const char *text = ERR_reason_error_string(code);
      return text ? text : "tls error " + std::to_string(code);
    }
  }
}

}  // namespace

std::string handshake_reason(const boost::system::error_code &error, SSL *ssl) {
  namespace asio = boost::asio;
  if (error == asio::error::eof || error == asio::ssl::error::stream_truncated) return "peer closed the connection";
  if (error == asio::error::operation_aborted) return "given up";
  if (error.category() == asio::error::get_ssl_category()) {
    const auto code = static_cast<unsigned long>(static_cast<unsigned int>(error.value()));
    if (ERR_GET_LIB(code) == ERR_LIB_SSL) return ssl_library_reason(code, ssl);
    const char *text = ERR_reason_error_string(code);
    return text ? text : "tls error " + std::to_string(code);
  }
  std::string text = error.message();
  if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z') text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

}  // namespace catsbpf::tls
