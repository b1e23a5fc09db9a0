# SPDX-License-Identifier: Apache-2.0
"""The lab's own authority and one certificate per node. Goes out: run/tls/ca.crt, run/NODE/NODE.crt and .key.
SAN: exactly one URI spiffe://DOMAIN/ROLE/NAME, and the node's addresses so that curl can check them."""
import os

from .lab import command

DAYS = 3650


def role(lab, node):
    """What this node's certificate lets it speak as."""
    n = lab.topology.nodes[node]
    if n.agent:
        return n.agent["identity"]
    if n.platform:
        return "platform"
    return "site" if any(s.node == node for s in lab.topology.sites.values()) else "client"


def identity(lab, node):
    return f"spiffe://{lab.topology.domain}/{role(lab, node)}/{node}"


def make_authority(directory, domain):
    directory.mkdir(parents=True, exist_ok=True)
    certificate, key = directory / "ca.crt", directory / "ca.key"
    if not (certificate.exists() and key.exists()):
        command(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                 "-days", DAYS, "-subj", f"/CN={domain} lab authority", "-keyout", key, "-out", certificate,
                 "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"])
        os.chmod(key, 0o600)
    return certificate, key


def make(authority, certificate, key, uri, addresses=(), names=(), days=DAYS):
    """A certificate of that authority (certificate and key paths). `uri` may be several, for tests of what is refused."""
    sans = [f"URI:{u}" for u in ([uri] if isinstance(uri, str) else uri)]
    sans += [f"IP:{a}" for a in addresses] + [f"DNS:{n}" for n in names]
    request = certificate.with_suffix(".csr")
    extensions = certificate.with_suffix(".ext")
    extensions.write_text(f"subjectAltName={','.join(sans)}\nbasicConstraints=CA:FALSE\n"
                          "extendedKeyUsage=serverAuth,clientAuth\n")
    command(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-subj", f"/CN={certificate.stem}", "-keyout", key, "-out", request])
    serial = int.from_bytes(os.urandom(8), "big") >> 1
    command(["openssl", "x509", "-req", "-in", request, "-CA", authority[0], "-CAkey", authority[1], "-days", days,
             "-set_serial", serial, "-extfile", extensions, "-out", certificate])
    os.chmod(key, 0o600)
    request.unlink()
    extensions.unlink()


def up(lab):
    authority = make_authority(lab.authority.parent, lab.topology.domain)
    for node in lab.nodes():
        name = node.name
        lab.files(name).mkdir(parents=True, exist_ok=True)
        if node.router and not node.agent:
            continue
        if not (lab.certificate(name).exists() and lab.key(name).exists()):
            make(authority, lab.certificate(name), lab.key(name), identity(lab, name), node.addresses(), [name])
