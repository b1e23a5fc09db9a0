// SPDX-License-Identifier: Apache-2.0
// Who a peer is: X.509 with exactly one URI SAN spiffe://<domain>/<role>/<name> (DESIGN section 7),
// checked by our verifier on Asio's TLS streams. TLS 1.3 only.
#pragma once

#include <openssl/x509.h>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>

#include <memory>
#include <string>
#include <vector>

#include "util/result.h"

namespace catsbpf::tls {

struct Identity {
  std::string domain, role, name;
  std::string uri() const { return "spiffe://" + domain + "/" + role + "/" + name; }
  bool operator==(const Identity &) const = default;
};

// Exactly one URI SAN of that form, else an Error that says what the certificate has instead.
Result<Identity> identity_of(X509 *certificate);
Result<Identity> identity_of_file(const std::string &certificate_pem);

struct Files {
  std::string certificate, key, authority;  // PEM paths
};

// What peers would refuse, or what no context can be made of; one file each, so that all problems are told at once.
// Each names the file, the reason and the way out.
Result<> check_certificate(const std::string &certificate);  // and its chain: in force now
Result<> check_key(const Files &files);                      // of the certificate, which is good
Result<> check_authority(const std::string &authority);      // holds an authority that is in force now

enum class PeerCertificate { kRequired, kNone };  // kNone: server to anonymous clients

// A TLS 1.3-only context. Fails naming the file and OpenSSL's reason.
Result<std::shared_ptr<boost::asio::ssl::context>> server_context(const Files &files, PeerCertificate peer);
Result<std::shared_ptr<boost::asio::ssl::context>> client_context(const Files &files);  // certificate and key may be ""

// Whom a side accepts: domain, role and, when not empty, one of the names.
struct Expected {
  std::string domain, role;
  std::vector<std::string> names;
};
// The identity of the peer after the handshake, or why it is refused: "certificate is spiffe://lab.cats/site/s2,
// expected role service-metric-agent".
Result<Identity> verify_peer(SSL *ssl, const Expected &expected);

// The same for an identity at hand.
Result<> accepts(const Expected &expected, const Identity &identity);

// What a failed handshake (or, under TLS 1.3, the first read after it: only then a client learns that its
// certificate is refused) really means, in words: "peer offers only TLS 1.2", "certificate has expired", ...
std::string handshake_reason(const boost::system::error_code &error, SSL *ssl);
// The same with the way out, where there is one.
Error handshake_error(const boost::system::error_code &error, SSL *ssl);

// Closes a connection after a refusal so that the peer can still read why: ends our side, then takes and throws
// away what comes for at most a second (closing with unread bytes would send a reset, which eats the alert).
// Returns at once; tcp::socket converts. For a TLS stream: linger_close(std::move(stream.next_layer())).
void linger_close(boost::asio::generic::stream_protocol::socket socket);

}  // namespace catsbpf::tls
