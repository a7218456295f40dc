"""A secured embedded broker for tests: certificates, users, tokens, and how clients are told of them."""

import base64
import json
import re
import subprocess
import time

from brokers import EmbeddedBroker

USERS = {"root": "root's password", "ann": "ann's password", "bob": "bob's password"}
MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"openssl {arguments}: {done.stderr}"


class Certificates:
    """An authority, and what it has signed: in `folder`, NAME.pem and NAME.key."""

    def __init__(self, folder):
        self.folder = folder
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.key("ca"), "-out", self.pem("ca"),
                "-subj", "/CN=authority", "-days", "2")
        self.sign("broker", "/CN=localhost")

    def pem(self, name):
        return self.folder / f"{name}.pem"

    def key(self, name):
        return self.folder / f"{name}.key"

    def sign(self, name, subject):
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", self.key(name), "-out", request, "-subj", subject)
        openssl("x509", "-req", "-in", request, "-CA", self.pem("ca"), "-CAkey", self.key("ca"), "-CAcreateserial",
                "-out", self.pem(name), "-days", "2", "-extfile", extensions)


def encoded(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned_token(user, seconds):
    """A token that nobody has signed, and when it ends."""
    now = time.time()
    claims = {"sub": user, "iat": now, "exp": now + seconds}
    return f"{encoded({'alg': 'none'})}.{encoded(claims)}.", now + seconds


def signed_token(user, seconds, key):
    """A token that an RSA key in PEM has signed, and when it ends."""
    now = time.time()
    claims = {"sub": user, "iat": now, "exp": now + seconds}
    text = f"{encoded({'alg': 'RS256'})}.{encoded(claims)}"
    done = subprocess.run(["openssl", "dgst", "-sha256", "-sign", str(key)], input=text.encode(), capture_output=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    return f"{text}.{base64.urlsafe_b64encode(done.stdout).rstrip(b'=').decode()}", now + seconds


class SecuredBroker(EmbeddedBroker):
    """An embedded broker with a listener of each protocol; `addresses` has them by protocol."""

    def __init__(self, directory, *options, oauth=("--oauth-unsecured-for-tests",)):
        super().__init__(directory)
        self.options = [*options, *map(str, oauth)]
        self.certificates = Certificates(directory)
        self.users = directory / "users"
        self.users.write_text("".join(f"{name}:{password}\n" for name, password in USERS.items()))
        self.users.chmod(0o600)
        self.addresses = {}

    def start(self):
        listeners = [
            word for protocol in ("SSL", "SASL_PLAINTEXT", "SASL_SSL")
            for word in ("--listen", f"{protocol}://127.0.0.1:0")
        ]
        certificates = self.certificates
        super().start(
            *listeners, "--tls-cert", str(certificates.pem("broker")), "--tls-key", str(certificates.key("broker")),
            "--tls-client-ca", str(certificates.pem("ca")), "--users", str(self.users),
            "--super-user", "User:root", *self.options,
        )
        self.addresses = dict(re.findall(r"(SSL|SASL_PLAINTEXT|SASL_SSL)://(127\.0\.0\.1:\d+)", self.said))
        return self

    def librdkafka(self, protocol, mechanism=None, user="ann", password=None, certificate=None):
        """Settings of a client of librdkafka."""
        settings = {"bootstrap.servers": self.addresses[protocol], "security.protocol": protocol}
        if protocol.endswith("SSL"):
            settings["ssl.ca.location"] = str(self.certificates.pem("ca"))
        if certificate:
            settings["ssl.certificate.location"] = str(self.certificates.pem(certificate))
            settings["ssl.key.location"] = str(self.certificates.key(certificate))
        if mechanism == "OAUTHBEARER":
            settings |= {"sasl.mechanism": mechanism, "oauth_cb": lambda _: unsigned_token(user, 3600)}
        elif mechanism:
            settings |= {
                "sasl.mechanism": mechanism, "sasl.username": user, "sasl.password": password or USERS[user],
            }
        return settings

    def java(self, folder, protocol, mechanism, user, password=None):
        """A file of settings for Kafka's own tools."""
        login = "scram.ScramLoginModule" if mechanism.startswith("SCRAM") else "plain.PlainLoginModule"
        secret = password or USERS[user]
        lines = [
            f"security.protocol={protocol}", f"sasl.mechanism={mechanism}",
            f"sasl.jaas.config=org.apache.kafka.common.security.{login} required "
            f'username="{user}" password="{secret}";',
        ]
        if protocol.endswith("SSL"):
            lines += ["ssl.truststore.type=PEM", f"ssl.truststore.location={self.certificates.pem('ca')}"]
        path = folder / f"{user}-{mechanism}-{len(secret)}.properties"
        path.write_text("\n".join(lines) + "\n")
        return str(path)
