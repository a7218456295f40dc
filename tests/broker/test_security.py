"""TLS, SASL and rights of the embedded broker, witnessed by confluent-kafka (librdkafka) and aiokafka."""

import asyncio
import ssl
import time

import pytest

confluent_kafka = pytest.importorskip("confluent_kafka")
from brokers import wait_for  # noqa: E402
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer  # noqa: E402
from confluent_kafka.admin import (  # noqa: E402
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from secured import MECHANISMS, USERS, SecuredBroker, openssl, signed_token, unsigned_token  # noqa: E402

PATIENCE = 60


@pytest.fixture
def root(secured):
    return AdminClient(secured.librdkafka("SASL_SSL", "SCRAM-SHA-512", "root"))


@pytest.fixture
def made(root, topic):
    root.create_topics([NewTopic(topic, 1, 1)])[topic].result(PATIENCE)
    return topic


@pytest.fixture
def grant(root):
    """grant(kind, name, operation, ...): rights for a principal, taken away after the test."""
    granted = []

    def give(kind, name, operation, principal="User:ann", permission=AclPermissionType.ALLOW,
             pattern=ResourcePatternType.LITERAL):
        rule = AclBinding(kind, name, pattern, principal, "*", operation, permission)
        root.create_acls([rule])[rule].result(PATIENCE)
        granted.append(AclBindingFilter(kind, name, pattern, principal, "*", operation, permission))

    yield give
    for taken in granted:
        root.delete_acls([taken])[taken].result(PATIENCE)


def produce(settings, topic, value=b"value"):
    """The error of one delivery, if any."""
    outcome = []
    producer = Producer({**settings, "message.timeout.ms": 30_000})
    producer.produce(topic, value, on_delivery=lambda error, _: outcome.append(error))
    assert producer.flush(PATIENCE) == 0
    return outcome[0]


def consume(settings, topic, group):
    consumer = Consumer({**settings, "group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    try:
        return wait_for(lambda: consumer.poll(1), "a record")
    finally:
        consumer.close()


def wait_to_be_told(settings, expected):
    """Waits until a client that cannot get through is told why."""
    told = []
    admin = AdminClient({**settings, "error_cb": lambda error: told.append(str(error))})

    def is_told():
        admin.poll(0.2)
        return any(expected in text for text in told)

    wait_for(is_told, f"a client to be told {expected!r}")


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_librdkafka_by_every_mechanism(secured, made, group, grant, protocol, mechanism):
    grant(ResourceType.TOPIC, made, AclOperation.READ)
    grant(ResourceType.TOPIC, made, AclOperation.WRITE)
    grant(ResourceType.GROUP, group, AclOperation.READ)
    settings = secured.librdkafka(protocol, mechanism)
    assert produce(settings, made) is None
    assert consume(settings, made, group).value() == b"value"


def test_librdkafka_by_certificate(secured, made, grant):
    settings = secured.librdkafka("SSL", certificate="ann")
    assert produce(settings, made).code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    grant(ResourceType.TOPIC, made, AclOperation.WRITE, principal="User:CN=ann,O=Example")
    assert produce(settings, made) is None
    wait_to_be_told(secured.librdkafka("SSL"), "certificate required")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_wrong_password(secured, mechanism):
    wait_to_be_told(secured.librdkafka("SASL_SSL", mechanism, password="hunter2"), "uthentication failed")
    assert "hunter2" not in secured.last_words()


def test_a_client_without_tls_at_a_listener_that_has_it(secured):
    client = AdminClient({**secured.librdkafka("SASL_SSL", "PLAIN"), "security.protocol": "SASL_PLAINTEXT"})

    def is_said():
        client.poll(0.2)
        return "is not TLS" in secured.last_words()

    wait_for(is_said, "the broker's log to say what is wrong")


def test_what_is_denied_and_what_is_granted(secured, made, group, grant):
    ann = secured.librdkafka("SASL_PLAINTEXT", "PLAIN")
    admin = AdminClient(ann)
    assert made not in admin.list_topics(timeout=PATIENCE).topics
    assert produce(ann, made).code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    with pytest.raises(KafkaException) as refused:
        admin.create_topics([NewTopic(f"{made}-2", 1, 1)])[f"{made}-2"].result(PATIENCE)
    assert refused.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    grant(ResourceType.TOPIC, made[:8], AclOperation.WRITE, pattern=ResourcePatternType.PREFIXED)
    assert produce(ann, made) is None
    assert made in admin.list_topics(timeout=PATIENCE).topics
    grant(ResourceType.TOPIC, made, AclOperation.READ, principal="User:*")
    consumer = Consumer({**ann, "group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe([made])
    denied = wait_for(lambda: consumer.poll(1), "a refusal")
    assert denied.error().code() == KafkaError.GROUP_AUTHORIZATION_FAILED
    consumer.close()
    grant(ResourceType.GROUP, "*", AclOperation.READ)
    assert consume(ann, made, group).value() == b"value"
    grant(ResourceType.TOPIC, made, AclOperation.WRITE, permission=AclPermissionType.DENY)
    assert produce(ann, made).code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    # Bob may read, which everybody may, and not write.
    assert produce(secured.librdkafka("SASL_SSL", "SCRAM-SHA-256", "bob"), made) is not None


def test_transactions_need_rights(secured, made, grant):
    ann = secured.librdkafka("SASL_SSL", "SCRAM-SHA-256")
    grant(ResourceType.TOPIC, made, AclOperation.WRITE)
    producer = Producer({**ann, "transactional.id": f"id-{made}"})
    with pytest.raises(KafkaException) as refused:
        producer.init_transactions(PATIENCE)
    assert refused.value.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    grant(ResourceType.TRANSACTIONAL_ID, f"id-{made}", AclOperation.WRITE)
    producer = Producer({**ann, "transactional.id": f"id-{made}"})
    producer.init_transactions(PATIENCE)
    producer.begin_transaction()
    producer.produce(made, b"value")
    producer.commit_transaction(PATIENCE)


def test_credentials_that_are_set_while_it_runs(secured, root, made, grant):
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 8192)
    root.alter_user_scram_credentials([UserScramCredentialUpsertion("eve", info, b"eve's password")])["eve"].result(
        PATIENCE
    )
    shown = root.describe_user_scram_credentials(["eve"])["eve"].result(PATIENCE)
    assert [(i.mechanism, i.iterations) for i in shown.scram_credential_infos] == [
        (ScramMechanism.SCRAM_SHA_512, 8192)
    ]
    grant(ResourceType.TOPIC, made, AclOperation.WRITE, principal="User:eve")
    settings = secured.librdkafka("SASL_SSL", "SCRAM-SHA-512", "eve", "eve's password")
    assert produce(settings, made) is None
    ann = AdminClient(secured.librdkafka("SASL_SSL", "PLAIN"))
    # The refusal of a description would crash librdkafka 2.12, whichever broker it comes from.
    change = UserScramCredentialUpsertion("eve", info, b"ann's idea")
    with pytest.raises(KafkaException) as refused:
        ann.alter_user_scram_credentials([change])["eve"].result(PATIENCE)
    assert refused.value.args[0].code() == KafkaError.CLUSTER_AUTHORIZATION_FAILED
    deletion = UserScramCredentialDeletion("eve", ScramMechanism.SCRAM_SHA_512)
    root.alter_user_scram_credentials([deletion])["eve"].result(PATIENCE)
    wait_to_be_told(settings, "uthentication failed")


def test_rights_and_credentials_survive(tmp_path, topic):
    with SecuredBroker(tmp_path, "--acl") as broker:
        root = AdminClient(broker.librdkafka("SASL_PLAINTEXT", "PLAIN", "root"))
        root.create_topics([NewTopic(topic, 1, 1)])[topic].result(PATIENCE)
        rule = AclBinding(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:eve", "*",
                          AclOperation.WRITE, AclPermissionType.ALLOW)
        root.create_acls([rule])[rule].result(PATIENCE)
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
        change = UserScramCredentialUpsertion("eve", info, b"eve's password")
        root.alter_user_scram_credentials([change])["eve"].result(PATIENCE)
        broker.kill()
        broker.start()
        eve = broker.librdkafka("SASL_SSL", "SCRAM-SHA-256", "eve", "eve's password")
        assert produce(eve, topic) is None
        kept = b"".join(path.read_bytes() for path in (tmp_path / "data" / "security").iterdir())
        assert kept and b"password" not in kept


def test_a_session_is_opened_anew_before_it_ends(tmp_path, topic):
    with SecuredBroker(tmp_path, "--set", "connections.max.reauth.ms=2000") as broker:
        settings = broker.librdkafka("SASL_SSL", "SCRAM-SHA-256")
        admin = AdminClient(settings)
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(PATIENCE)
        told = []
        producer = Producer({**settings, "error_cb": told.append})
        delivered = []
        until = time.monotonic() + 6
        while time.monotonic() < until:
            producer.produce(topic, b"value", on_delivery=lambda error, _: delivered.append(error))
            producer.flush(PATIENCE)
            time.sleep(0.05)
        assert delivered and not any(delivered)


def test_signed_tokens(tmp_path, topic):
    keys = tmp_path / "keys.pem"
    secured = SecuredBroker(tmp_path, oauth=("--oauth-keys", keys))
    openssl("pkey", "-in", secured.certificates.key("broker"), "-pubout", "-out", keys)
    with secured as broker:
        admin = AdminClient(broker.librdkafka("SASL_SSL", "PLAIN"))
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(PATIENCE)
        settings = broker.librdkafka("SASL_SSL", "OAUTHBEARER")
        good = {**settings, "oauth_cb": lambda _: signed_token("ann", 3600, broker.certificates.key("broker"))}
        assert produce(good, topic) is None
        # Signed by another key, or by nobody.
        bad = {**settings, "oauth_cb": lambda _: signed_token("ann", 3600, broker.certificates.key("ca"))}
        wait_to_be_told(bad, "invalid_token")
        wait_to_be_told(settings, "invalid_token")


def aiokafka_settings(broker, protocol, mechanism, user):
    aiokafka = pytest.importorskip("aiokafka")
    settings = {"bootstrap_servers": broker.addresses[protocol], "security_protocol": protocol}
    if protocol.endswith("SSL"):
        settings["ssl_context"] = ssl.create_default_context(cafile=str(broker.certificates.pem("ca")))
    if mechanism == "OAUTHBEARER":
        class Tokens(aiokafka.abc.AbstractTokenProvider):
            async def token(self):
                return unsigned_token(user, 3600)[0]

        return settings | {"sasl_mechanism": mechanism, "sasl_oauth_token_provider": Tokens()}
    return settings | {
        "sasl_mechanism": mechanism, "sasl_plain_username": user, "sasl_plain_password": USERS[user],
    }


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_aiokafka_by_every_mechanism(secured, made, grant, protocol, mechanism):
    aiokafka = pytest.importorskip("aiokafka")
    grant(ResourceType.TOPIC, made, AclOperation.READ)
    grant(ResourceType.TOPIC, made, AclOperation.WRITE)

    async def scenario():
        settings = aiokafka_settings(secured, protocol, mechanism, "ann")
        producer = aiokafka.AIOKafkaProducer(**settings)
        await producer.start()
        await producer.send_and_wait(made, b"value")
        await producer.stop()
        consumer = aiokafka.AIOKafkaConsumer(made, auto_offset_reset="earliest", **settings)
        await consumer.start()
        assert (await consumer.getone()).value == b"value"
        await consumer.stop()
        denied = aiokafka.AIOKafkaProducer(**aiokafka_settings(secured, protocol, mechanism, "bob"))
        await denied.start()
        with pytest.raises(aiokafka.errors.TopicAuthorizationFailedError):
            await denied.send_and_wait(made, b"value")
        await denied.stop()

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))
