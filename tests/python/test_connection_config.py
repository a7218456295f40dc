"""ConnectionConfig: C-01 to C-06."""

import copy
import pickle

import pytest

from millstream.exceptions import NotSupportedYet
from millstream.kafka.configuration import ConnectionConfig, Secret, client_settings, masked

FULL = {
    "bootstrap_servers": "a:1,b:2",
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "scram-sha-256",
    "sasl_username": "me",
    "sasl_password": "hunter2",
    "ssl_ca_pem": "-----BEGIN-----",
    "ssl_key_password": "swordfish",
    "ssl_keystore_password": "opensesame",
    "sasl_oauthbearer_client_secret": "tell-nobody",
    "enable_ssl_certificate_verification": False,
    "sasl_kerberos_min_time_before_relogin": 5,
}
SECRETS = ("hunter2", "-----BEGIN-----", "swordfish", "opensesame", "tell-nobody")


def test_fields_and_folding_of_case():
    """C-02"""
    config = ConnectionConfig(**FULL)
    assert config.security_protocol == "sasl_ssl"
    assert config.sasl_mechanism == "SCRAM-SHA-256"
    assert config.sasl_password.get_secret_value() == "hunter2"
    assert config.client_id is None
    assert config.enable_ssl_certificate_verification is False


def test_mechanisms_is_an_alias():
    """C-02"""
    assert ConnectionConfig(bootstrap_servers="a:1", sasl_mechanisms="plain").sasl_mechanism == "PLAIN"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"bootstrap_servers": "a:1", "bootstrap": "x"}, "no field 'bootstrap'"),
        ({}, "needs bootstrap_servers"),
        ({"bootstrap_servers": "a:1", "security_protocol": "tls"}, "expected one of plaintext"),
        ({"bootstrap_servers": 9092}, "expected a text"),
        ({"bootstrap_servers": "a:1", "enable_ssl_certificate_verification": "maybe"}, "expected true or false"),
    ],
)
def test_refused(fields, words):
    """C-01"""
    with pytest.raises(ValueError, match=words):
        ConnectionConfig(**fields)


def test_environment_is_not_read(monkeypatch):
    """C-01"""
    monkeypatch.setenv("CLIENT_ID", "from-outside")
    assert ConnectionConfig(bootstrap_servers="a:1").client_id is None


def test_librdkafka_names_there_and_back():
    """C-03, C-04, C-06"""
    config = ConnectionConfig(**FULL)
    named = config.as_librdkafka_dict()
    assert named["sasl.mechanism"] == "SCRAM-SHA-256"
    assert named["sasl.password"] == "hunter2"
    assert named["enable.ssl.certificate.verification"] is False
    assert "client.id" not in named
    assert ConnectionConfig.from_librdkafka_dict(named) == config


def test_extras():
    """C-03"""
    with pytest.raises(ValueError, match="linger"):
        ConnectionConfig.from_librdkafka_dict({"bootstrap.servers": "a:1", "linger.ms": 5})
    assert ConnectionConfig.from_librdkafka_dict(
        {"bootstrap.servers": "a:1", "linger.ms": 5, "sasl.mechanisms": "PLAIN"}, ignore_extras=True
    ) == ConnectionConfig(bootstrap_servers="a:1", sasl_mechanism="PLAIN")


def test_no_secret_is_printed():
    """C-05"""
    config = ConnectionConfig(**FULL)
    shown = f"{config} {config!r} {config.as_librdkafka_dict(plaintext_secrets=False)} {config.sasl_password}"
    assert not [secret for secret in SECRETS if secret in shown]
    assert "**********" in shown


def test_equality_copies_and_pickles():
    """C-05"""
    config = ConnectionConfig(**FULL)
    assert config == ConnectionConfig(**FULL) == copy.deepcopy(config) == pickle.loads(pickle.dumps(config))
    assert config != ConnectionConfig(**{**FULL, "sasl_password": "other"})
    assert hash(config) == hash(copy.copy(config))


def test_it_cannot_be_changed():
    with pytest.raises(AttributeError, match="cannot be changed"):
        ConnectionConfig(bootstrap_servers="a:1").client_id = "x"


def test_oidc_under_the_names_of_the_client():
    """C-02, C-04"""
    config = ConnectionConfig(
        bootstrap_servers="a:1", security_protocol="sasl_ssl", sasl_mechanism="oauthbearer",
        sasl_oauthbearer_method="OIDC", sasl_oauthbearer_client_id="app", sasl_oauthbearer_client_secret="tell-nobody",
        sasl_oauthbearer_scope="kafka", sasl_oauthbearer_extensions="a=b",
        sasl_oauthbearer_token_endpoint_url="https://id.example/token",
    )
    assert client_settings(config.as_librdkafka_dict()) == {
        "bootstrap.servers": "a:1", "security.protocol": "sasl_ssl", "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc", "sasl.oauthbearer.client.id": "app",
        "sasl.oauthbearer.client.secret": "tell-nobody", "sasl.oauthbearer.scope": "kafka",
        "sasl.oauthbearer.extensions": "a=b", "sasl.oauthbearer.token.endpoint.url": "https://id.example/token",
    }


def test_client_settings_are_texts_and_later_layers_win():
    """A-07"""
    assert client_settings({"a": True, "b": 1, "c": "x"}, {"b": 2.5, "c": None, "d": Secret("s")}) == {
        "a": "true", "b": "2.5", "d": "s",
    }


def test_callbacks_are_refused():
    with pytest.raises(NotSupportedYet, match="stats_cb"):
        client_settings({"stats_cb": print})
    with pytest.raises(NotSupportedYet, match="oidc"):
        client_settings(ConnectionConfig(bootstrap_servers="a:1", oauth_cb=print).as_librdkafka_dict())


def test_masked():
    shown = masked({"sasl.password": "x", "ssl.key.pem": "y", "sasl.oauthbearer.config": "z", "linger.ms": 5})
    assert shown == {
        "sasl.password": "**********", "ssl.key.pem": "**********", "sasl.oauthbearer.config": "**********",
        "linger.ms": 5,
    }
