// SPDX-License-Identifier: Apache-2.0
// Identities and handshakes: two SSL objects in memory, so that both sides' reasons are seen.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/ssl/error.hpp>

#include <fstream>

#include "tests/unit/util_certificates.h"

namespace catsbpf::tls {
namespace {

using test::Authority;
using test::Folder;
using ::testing::HasSubstr;
using Context = std::shared_ptr<boost::asio::ssl::context>;

// What each side says of the handshake; "" where it went well.
struct Outcome {
  std::string server, client;
};

class Handshake {
 public:
  Handshake(SSL_CTX *server, SSL_CTX *client) : server_(SSL_new(server), SSL_free), client_(SSL_new(client), SSL_free) {
    BIO *to_server = BIO_new(BIO_s_mem()), *to_client = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(to_server, -1);
    BIO_set_mem_eof_return(to_client, -1);
    BIO_up_ref(to_server);
    BIO_up_ref(to_client);
    SSL_set_bio(server_.get(), to_server, to_client);
    SSL_set_bio(client_.get(), to_client, to_server);
    SSL_set_accept_state(server_.get());
    SSL_set_connect_state(client_.get());
  }
  Outcome run() {
    Outcome outcome;
    // Under TLS 1.3 the client is done first; the server's verdict comes with its first read.
    for (int i = 0; i < 10; ++i) {
      step(client_.get(), outcome.client);
      step(server_.get(), outcome.server);
    }
    return outcome;
  }
  SSL *server() { return server_.get(); }
  SSL *client() { return client_.get(); }

 private:
  static void step(SSL *ssl, std::string &reason) {
    if (!reason.empty()) return;
    ERR_clear_error();
    char byte;
    const int result = SSL_is_init_finished(ssl) ? SSL_read(ssl, &byte, 1) : SSL_do_handshake(ssl);
    if (result > 0 || SSL_get_error(ssl, result) != SSL_ERROR_SSL) return;
    const boost::system::error_code error(static_cast<int>(ERR_get_error()), boost::asio::error::get_ssl_category());
    reason = handshake_reason(error, ssl);
  }
  std::unique_ptr<SSL, void (*)(SSL *)> server_, client_;
};

class Tls : public ::testing::Test {
 protected:
  Context server(const Files &files) {
    auto context = server_context(files, PeerCertificate::kRequired);
    EXPECT_TRUE(context) << context.error().text();
    return *context;
  }
  Context client(const Files &files) {
    auto context = client_context(files);
    EXPECT_TRUE(context) << context.error().text();
    return *context;
  }
  Outcome shake(const Context &server, const Context &client) {
    return Handshake(server->native_handle(), client->native_handle()).run();
  }
  Result<Identity> identity(const std::string &names) {
    return identity_of_file(authority_.issue_as("certificate", {.names = names}).certificate);
  }

  Folder folder_;
  Authority authority_{folder_, "lab"};
  Files platform_ = authority_.issue("platform", "platform");
  Files agent_ = authority_.issue("path-selector", "f1");
};

TEST_F(Tls, identity_is_the_one_uri_name) {
  const auto found = identity("URI:spiffe://lab.cats/site/s2,IP:10.2.0.11,DNS:s2.lab");
  ASSERT_TRUE(found) << found.error().text();
  EXPECT_EQ(*found, (Identity{"lab.cats", "site", "s2"}));
  EXPECT_EQ(found->uri(), "spiffe://lab.cats/site/s2");
}

TEST_F(Tls, identity_refuses_no_two_and_malformed_uri_names) {
  EXPECT_THAT(identity("").error().what, HasSubstr("certificate has no URI SAN"));
  EXPECT_THAT(identity("IP:10.2.0.11").error().what, HasSubstr("certificate has no URI SAN"));
  EXPECT_THAT(identity("URI:spiffe://lab.cats/site/s2,URI:spiffe://lab.cats/platform/p").error().what,
              HasSubstr("certificate has 2 URI SANs (spiffe://lab.cats/site/s2, spiffe://lab.cats/platform/p), "
                        "expected exactly one"));
  for (const char *uri : {"https://lab.cats/site/s2", "spiffe://lab.cats/site", "spiffe://lab.cats/site/s2/x",
                          "spiffe:///site/s2", "spiffe://lab.cats//s2", "spiffe://lab.cats/site/",
                          "spiffe://lab.cats/si te/s2", "spiffe://lab.cats/site/s2?x"})
    EXPECT_THAT(identity(std::string("URI:") + uri).error().what, HasSubstr("is not spiffe://DOMAIN/ROLE/NAME")) << uri;
}

TEST_F(Tls, context_names_the_file_and_the_reason) {
  const auto missing =
      server_context({folder_.file("none.crt"), platform_.key, authority_.file()}, PeerCertificate::kRequired);
  EXPECT_EQ(missing.error().what, "tls certificate " + folder_.file("none.crt") + ": No such file or directory");
  const auto foreign_key =
      server_context({platform_.certificate, agent_.key, authority_.file()}, PeerCertificate::kRequired);
  EXPECT_THAT(foreign_key.error().what, HasSubstr("tls key " + agent_.key + ": key values mismatch"));
  std::ofstream(folder_.file("junk.crt")) << "no certificate\n";
  EXPECT_THAT(client_context({"", "", folder_.file("junk.crt")}).error().what,
              HasSubstr("tls authority " + folder_.file("junk.crt")));
  std::filesystem::create_directory(folder_.file("folder"));
  const auto directory = server_context({folder_.file("folder"), platform_.key, ""}, PeerCertificate::kNone);
  EXPECT_EQ(directory.error().what, "tls certificate " + folder_.file("folder") + ": Is a directory");
}

TEST_F(Tls, files_are_checked_one_by_one_before_anyone_connects) {
  EXPECT_TRUE(check_certificate(platform_.certificate));
  EXPECT_TRUE(check_key(platform_));
  EXPECT_TRUE(check_authority(authority_.file()));

  const auto expired = authority_.issue_as("expired", {.names = "", .from_s = -7200, .until_s = -3600});
  const auto over = check_certificate(expired.certificate);
  ASSERT_FALSE(over);
  EXPECT_THAT(over.error().what, HasSubstr("tls certificate " + expired.certificate + ": it has expired, on 20"));
  EXPECT_THAT(over.error().hint, HasSubstr("put a new certificate there"));
  EXPECT_TRUE(check_key(expired)) << "the key is good";
  const auto early = authority_.issue_as("early", {.names = "", .from_s = 3600, .until_s = 7200});
  EXPECT_THAT(check_certificate(early.certificate).error().what, HasSubstr("is not valid before 20"));

  const auto chain = folder_.file("chain.crt");
  std::ofstream(chain) << std::ifstream(platform_.certificate).rdbuf() << std::ifstream(expired.certificate).rdbuf();
  EXPECT_THAT(check_certificate(chain).error().what, HasSubstr("certificate 2 of its chain has expired"));

  const auto foreign = check_key({platform_.certificate, agent_.key, ""});
  ASSERT_FALSE(foreign);
  EXPECT_THAT(foreign.error().what, HasSubstr("tls key " + agent_.key + ": "));
  EXPECT_THAT(foreign.error().hint, HasSubstr("belong to " + platform_.certificate));
}

TEST_F(Tls, key_of_another_kind_is_no_key_of_the_certificate) {
  const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY *)> rsa(EVP_RSA_gen(2048), EVP_PKEY_free);
  const auto key = folder_.file("rsa.key");
  std::FILE *out = std::fopen(key.c_str(), "w");
  PEM_write_PrivateKey(out, rsa.get(), nullptr, nullptr, 0, nullptr, nullptr);
  std::fclose(out);
  EXPECT_FALSE(check_key({platform_.certificate, key, ""}));
  EXPECT_FALSE(server_context({platform_.certificate, key, ""}, PeerCertificate::kNone));
}

TEST_F(Tls, authority_must_be_one_and_in_force) {
  EXPECT_THAT(check_authority(platform_.certificate).error().what, HasSubstr("has no certificate of an authority"));
  const test::Authority old(folder_, "old", -3600);
  const auto over = check_authority(old.file());
  ASSERT_FALSE(over);
  EXPECT_THAT(over.error().what, HasSubstr("tls authority " + old.file() + ": its certificate has expired"));
  const auto both = folder_.file("both.crt");
  std::ofstream(both) << std::ifstream(old.file()).rdbuf() << std::ifstream(authority_.file()).rdbuf();
  EXPECT_TRUE(check_authority(both)) << "the successor stands beside";
}

TEST_F(Tls, refusals_have_a_way_out) {
  const auto hint = [](int code) {
    const boost::system::error_code error(ERR_PACK(ERR_LIB_SSL, 0, code), boost::asio::error::get_ssl_category());
    return handshake_error(error, nullptr).hint;
  };
  for (const int alert :
       {SSL_AD_CERTIFICATE_EXPIRED, SSL_AD_UNKNOWN_CA, SSL_AD_PROTOCOL_VERSION, SSL_AD_BAD_CERTIFICATE})
    EXPECT_NE(hint(SSL_AD_REASON_OFFSET + alert), "") << alert;
  EXPECT_THAT(hint(SSL_AD_REASON_OFFSET + SSL_AD_CERTIFICATE_EXPIRED), HasSubstr("new certificate"));
  EXPECT_NE(hint(SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE), "");
}

TEST_F(Tls, mutual_handshake_gives_both_identities) {
  const auto server_side = server(platform_), client_side = client(agent_);
  Handshake handshake(server_side->native_handle(), client_side->native_handle());
  const auto outcome = handshake.run();
  EXPECT_EQ(outcome.server, "");
  EXPECT_EQ(outcome.client, "");
  const auto at_server = verify_peer(handshake.server(), {"lab.cats", "path-selector", {"f1", "f2"}});
  ASSERT_TRUE(at_server) << at_server.error().text();
  EXPECT_EQ(at_server->name, "f1");
  const auto at_client = verify_peer(handshake.client(), {"lab.cats", "platform", {}});
  ASSERT_TRUE(at_client) << at_client.error().text();
  EXPECT_EQ(at_client->uri(), "spiffe://lab.cats/platform/platform");
}

TEST_F(Tls, wrong_domain_role_or_name_is_refused_in_words) {
  const auto server_side = server(platform_), client_side = client(agent_);
  Handshake handshake(server_side->native_handle(), client_side->native_handle());
  handshake.run();
  const std::string is = "certificate is spiffe://lab.cats/path-selector/f1, expected ";
  EXPECT_EQ(verify_peer(handshake.server(), {"other.cats", "path-selector", {}}).error().what,
            is + "domain other.cats");
  EXPECT_EQ(verify_peer(handshake.server(), {"lab.cats", "site", {}}).error().what, is + "role site");
  EXPECT_EQ(verify_peer(handshake.server(), {"lab.cats", "path-selector", {"f2", "f3"}}).error().what,
            is + "name f2 or f3");
}

TEST_F(Tls, two_uri_names_are_refused_though_the_authority_signed_them) {
  const auto two =
      authority_.issue_as("two", {.names = "URI:spiffe://lab.cats/path-selector/f1,URI:spiffe://lab.cats/site/s2"});
  const auto server_side = server(platform_), client_side = client(two);
  Handshake handshake(server_side->native_handle(), client_side->native_handle());
  EXPECT_EQ(handshake.run().server, "");
  EXPECT_THAT(verify_peer(handshake.server(), {"lab.cats", "path-selector", {}}).error().what,
              HasSubstr("has 2 URI SANs"));
}

TEST_F(Tls, peer_with_only_tls_1_2_is_refused_with_the_reason_on_both_sides) {
  const auto old_client = client(agent_);
  SSL_CTX_set_min_proto_version(old_client->native_handle(), TLS1_2_VERSION);
  SSL_CTX_set_max_proto_version(old_client->native_handle(), TLS1_2_VERSION);
  auto outcome = shake(server(platform_), old_client);
  EXPECT_EQ(outcome.server, "peer offers only TLS 1.2");
  EXPECT_EQ(outcome.client, "peer refuses our TLS version: it wants TLS 1.3, we offer only TLS 1.2");

  const auto old_server = server(platform_);
  SSL_CTX_set_min_proto_version(old_server->native_handle(), TLS1_2_VERSION);
  SSL_CTX_set_max_proto_version(old_server->native_handle(), TLS1_2_VERSION);
  outcome = shake(old_server, client(agent_));
  EXPECT_EQ(outcome.client, "peer offers only TLS 1.2 or older");
}

TEST_F(Tls, expired_certificate_is_refused_with_the_reason_on_both_sides) {
  const auto expired = authority_.issue_as(
      "expired", {.names = "URI:spiffe://lab.cats/path-selector/f1", .from_s = -7200, .until_s = -3600});
  auto outcome = shake(server(platform_), client(expired));
  EXPECT_EQ(outcome.server, "certificate of the peer (spiffe://lab.cats/path-selector/f1) is refused: it has expired");
  EXPECT_EQ(outcome.client, "peer refuses our certificate: it has expired (or is not yet valid)");
  outcome = shake(server(expired), client(agent_));
  EXPECT_EQ(outcome.client, "certificate of the peer (spiffe://lab.cats/path-selector/f1) is refused: it has expired");
  EXPECT_EQ(outcome.server, "peer refuses our certificate: it has expired (or is not yet valid)");
}

TEST_F(Tls, foreign_authority_is_refused_with_the_reason_on_both_sides) {
  const Authority foreign(folder_, "foreign");
  auto files = foreign.issue("path-selector", "f1");
  files.authority = authority_.file();
  const auto outcome = shake(server(platform_), client(files));
  EXPECT_EQ(outcome.server,
            "certificate of the peer (spiffe://lab.cats/path-selector/f1) is refused: it is not signed by the "
            "authority that is trusted here");
  EXPECT_EQ(outcome.client, "peer refuses our certificate: it does not trust the authority that signed it");
}

TEST_F(Tls, client_without_a_certificate_is_refused_with_the_reason_on_both_sides) {
  const auto outcome = shake(server(platform_), client({"", "", authority_.file()}));
  EXPECT_EQ(outcome.server, "peer presents no certificate");
  EXPECT_EQ(outcome.client, "peer requires a certificate and we present none");
}

}  // namespace
}  // namespace catsbpf::tls
