// SPDX-License-Identifier: Apache-2.0
// Certificates for tests, made with the OpenSSL API: nothing on disk is older than the test.
#pragma once

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "util/tls/identity.h"

namespace catsbpf::test {

// A directory that is gone after the test.
class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "catsbpf-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder &) = delete;
  Folder &operator=(const Folder &) = delete;
  std::string file(const std::string &name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

struct CertificateWish {
  std::string names;    // subjectAltName, "URI:spiffe://lab.cats/site/s2,IP:127.0.0.1"
  long from_s = -3600;  // not before, from now
  long until_s = 3600;  // not after, from now
};

class Authority {
 public:
  // `until_s`: not after, from now.
  Authority(const Folder &folder, const std::string &name, long until_s = 3600)
      : folder_(folder), name_(name), key_(EVP_EC_gen("P-256"), EVP_PKEY_free) {
    certificate_ = make(key_.get(), name, -7200, until_s);
    extend(certificate_.get(), certificate_.get(), NID_basic_constraints, "critical,CA:TRUE");
    X509_set_issuer_name(certificate_.get(), X509_get_subject_name(certificate_.get()));
    X509_sign(certificate_.get(), key_.get(), EVP_sha256());
    write_certificate(file(), certificate_.get());
  }
  std::string file() const { return folder_.file(name_ + ".ca.crt"); }

  // Writes NAME.crt and NAME.key.
  tls::Files issue_as(const std::string &name, const CertificateWish &wish) const {
    const Key key(EVP_EC_gen("P-256"), EVP_PKEY_free);
    auto certificate = make(key.get(), name, wish.from_s, wish.until_s);
    if (!wish.names.empty()) extend(certificate.get(), certificate_.get(), NID_subject_alt_name, wish.names.c_str());
    X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate_.get()));
    X509_sign(certificate.get(), key_.get(), EVP_sha256());
    tls::Files files{folder_.file(name + ".crt"), folder_.file(name + ".key"), file()};
    write_certificate(files.certificate, certificate.get());
    std::FILE *out = std::fopen(files.key.c_str(), "w");
    PEM_write_PrivateKey(out, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(out);
    return files;
  }
  // spiffe://lab.cats/ROLE/NAME, good for 127.0.0.1.
  tls::Files issue(const std::string &role, const std::string &name) const {
    return issue_as(role + "-" + name, {.names = "URI:spiffe://lab.cats/" + role + "/" + name + ",IP:127.0.0.1"});
  }

 private:
  using Key = std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY *)>;
  using Certificate = std::unique_ptr<X509, void (*)(X509 *)>;

  static Certificate make(EVP_PKEY *key, const std::string &name, long from_s, long until_s) {
    static long serial = 1;
    Certificate certificate(X509_new(), X509_free);
    X509_set_version(certificate.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), serial++);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), from_s);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), until_s);
    X509_set_pubkey(certificate.get(), key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char *>(name.c_str()), -1, -1, 0);
    return certificate;
  }
  static void extend(X509 *certificate, X509 *issuer, int nid, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
  static void write_certificate(const std::string &path, X509 *certificate) {
    std::FILE *out = std::fopen(path.c_str(), "w");
    PEM_write_X509(out, certificate);
    std::fclose(out);
  }

  const Folder &folder_;
  std::string name_;
  Key key_;
  Certificate certificate_{nullptr, X509_free};
};

}  // namespace catsbpf::test
