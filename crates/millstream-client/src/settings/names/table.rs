//! All settings that librdkafka 2.12 has.

use super::{Kind, Scope, Setting, Support};
use Kind::{Bool, Callback, Float, Int, ListOf, OneOf, Secret, Text};

/// Rows as `"name" = "alias", Scope, Kind, "default", Support("why");`.
macro_rules! rows {
    ($($name:literal $(= $alias:literal)*, $scope:ident, $kind:expr, $default:literal,
       $support:ident $(($why:expr))?;)*) => {
        &[$(Setting {
            name: $name,
            aliases: &[$($alias),*],
            scope: Scope::$scope,
            kind: $kind,
            default: $default,
            support: Support::$support $({ why: $why })?,
        }),*]
    };
}

const MAX: i64 = i32::MAX as i64;

const NO_GSSAPI: &str = "there is no GSSAPI, and in librdkafka only where its build links Cyrus SASL \
                         (feature gssapi of rdkafka-sys)";

/// All settings that librdkafka has.
pub const SETTINGS: &[Setting] = rows! {
    // Brokers and what is known about them.
    "bootstrap.servers" = "metadata.broker.list", Both, Text, "", Honoured;
    "client.id", Both, Text, "millstream", Honoured;
    "client.rack", Both, Text, "", Honoured;
    "client.software.name", Both, Text, "millstream", NoEffect("the client says what it is");
    "client.software.version", Both, Text, "", NoEffect("the client says what it is");
    "builtin.features", Both, Text, "", NoEffect("the features are not a matter of the build");
    "allow.auto.create.topics", Both, Bool, "", Honoured;
    "metadata.max.age.ms", Both, Int(1, 86_400_000), "900000", Honoured;
    "topic.metadata.refresh.interval.ms", Both, Int(-1, 3_600_000), "300000", Honoured;
    "topic.metadata.refresh.fast.interval.ms", Both, Int(1, 60_000), "100",
        NoEffect("retry.backoff.ms is used");
    "topic.metadata.refresh.fast.cnt", Both, Int(0, 1000), "10", NoEffect("deprecated");
    "topic.metadata.refresh.sparse", Both, Bool, "true",
        NoEffect("only the topics in use are asked for");
    "topic.metadata.propagation.max.ms", Producer, Int(0, 3_600_000), "30000", Honoured;
    "topic.blacklist", Both, Text, "", NeedsLibrdkafka("topics are not hidden by pattern");
    "metadata.recovery.strategy", Both, OneOf(&["none", "rebootstrap"]), "rebootstrap",
        NoEffect("the bootstrap addresses always stay in use");
    "metadata.recovery.rebootstrap.trigger.ms", Both, Int(0, MAX), "300000",
        NoEffect("the bootstrap addresses always stay in use");
    "api.version.request", Both, Bool, "true",
        NeedsLibrdkafka("brokers before Kafka 0.10 are not supported");
    "api.version.request.timeout.ms", Both, Int(1, 300_000), "10000",
        NoEffect("socket.connection.setup.timeout.ms covers it");
    "api.version.fallback.ms", Both, Int(0, 604_800_000), "0", NoEffect("deprecated");
    "broker.version.fallback", Both, Text, "0.10.0", NoEffect("deprecated");

    // Connections.
    "broker.address.ttl", Both, Int(0, 86_400_000), "1000",
        NoEffect("names are looked up at each connection; the system's resolver caches");
    "broker.address.family", Both, OneOf(&["any", "v4", "v6"]), "any", Honoured;
    "client.dns.lookup", Both,
        OneOf(&["use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"]),
        "use_all_dns_ips", NeedsLibrdkafka("canonical names are of use with GSSAPI only");
    "socket.timeout.ms", Both, Int(10, 300_000), "60000", Honoured;
    "socket.connection.setup.timeout.ms", Both, Int(1000, MAX), "30000", Honoured;
    "socket.blocking.max.ms", Both, Int(1, 60_000), "1000", NoEffect("deprecated");
    "socket.send.buffer.bytes", Both, Int(0, 100_000_000), "0", Honoured;
    "socket.receive.buffer.bytes", Both, Int(0, 100_000_000), "0", Honoured;
    "socket.keepalive.enable", Both, Bool, "false", Honoured;
    "socket.nagle.disable", Both, Bool, "true", Honoured;
    "socket.max.fails", Both, Int(0, 1_000_000), "1",
        NoEffect("the first request that times out ends the connection");
    "connections.max.idle.ms", Both, Int(0, MAX), "0", Honoured;
    "enable.sparse.connections", Both, Bool, "true",
        NoEffect("connections are opened when they are needed");
    "reconnect.backoff.jitter.ms", Both, Int(0, 3_600_000), "0", NoEffect("deprecated");
    "reconnect.backoff.ms", Both, Int(0, 3_600_000), "100", Honoured;
    "reconnect.backoff.max.ms", Both, Int(0, 3_600_000), "10000", Honoured;
    "retry.backoff.ms", Both, Int(1, 300_000), "100", Honoured;
    "retry.backoff.max.ms", Both, Int(1, 300_000), "1000", Honoured;
    "receive.message.max.bytes", Both, Int(1000, MAX), "100000000", Honoured;
    "message.max.bytes", Both, Int(1000, 1_000_000_000), "1000000", Honoured;
    "message.copy.max.bytes", Both, Int(0, 1_000_000_000), "65535",
        NoEffect("records are copied once, into the batch");
    "max.in.flight.requests.per.connection" = "max.in.flight", Both, Int(1, 1_000_000), "5",
        Honoured;

    // What is told and logged.
    "statistics.interval.ms", Both, Int(0, 86_400_000), "0", Honoured;
    "debug", Both, Text, "", NoEffect("logging is set where the program sets its logging");
    "log_level", Both, Int(0, 7), "6",
        NoEffect("logging is set where the program sets its logging");
    "log.queue", Both, Bool, "false", NoEffect("log lines go straight to the program's logging");
    "log.thread.name", Both, Bool, "true", NoEffect("the program's logging says it");
    "log.connection.close", Both, Bool, "true", NoEffect("it is logged at the level debug");
    "enable.random.seed", Both, Bool, "true", NoEffect("random numbers come from the system");
    "enable.metrics.push", Both, Bool, "true",
        NoEffect("metrics are not pushed to brokers (KIP-714)");
    "enabled_events", Both, Int(0, MAX), "0", NoEffect("all events are reported");
    "internal.termination.signal", Both, Int(0, 128), "0", NoEffect("no signal is needed");
    "plugin.library.paths", Both, Text, "", NeedsLibrdkafka("there are no plugins");
    "test.mock.num.brokers", Both, Int(0, 10_000), "0",
        NeedsLibrdkafka("there is no mock cluster; the embedded broker is one");

    // TLS.
    "security.protocol", Both, OneOf(&["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]),
        "plaintext", Honoured;
    "ssl.ca.location", Both, Text, "", Honoured;
    "ssl.ca.pem", Both, Secret, "", Honoured;
    "ssl.ca.certificate.stores", Both, Text, "Root", NoEffect("a setting of Windows");
    "ssl.certificate.location", Both, Text, "", Honoured;
    "ssl.certificate.pem", Both, Secret, "", Honoured;
    "ssl.key.location", Both, Text, "", Honoured;
    "ssl.key.pem", Both, Secret, "", Honoured;
    "ssl.key.password", Both, Secret, "", Honoured;
    "ssl.keystore.location", Both, Text, "",
        NeedsLibrdkafka("PKCS#12 is not read; convert it to PEM (openssl pkcs12 -in FILE -nodes)");
    "ssl.keystore.password", Both, Secret, "", NeedsLibrdkafka("PKCS#12 is not read");
    "ssl.crl.location", Both, Text, "", NeedsLibrdkafka("revocation lists are not read");
    "ssl.cipher.suites", Both, Text, "", NeedsLibrdkafka("the suites are rustls' own");
    "ssl.curves.list", Both, Text, "", NeedsLibrdkafka("the curves are rustls' own");
    "ssl.sigalgs.list", Both, Text, "", NeedsLibrdkafka("the algorithms are rustls' own");
    "ssl.providers", Both, Text, "", NeedsLibrdkafka("OpenSSL is not used");
    "ssl.engine.location", Both, Text, "", NeedsLibrdkafka("OpenSSL is not used");
    "ssl.engine.id", Both, Text, "dynamic", NeedsLibrdkafka("OpenSSL is not used");
    "enable.ssl.certificate.verification", Both, Bool, "true", Honoured;
    "ssl.endpoint.identification.algorithm", Both, OneOf(&["none", "https"]), "https", Honoured;
    "https.ca.location", Both, Text, "", Honoured;
    "https.ca.pem", Both, Secret, "", Honoured;

    // SASL.
    "sasl.mechanisms" = "sasl.mechanism", Both,
        OneOf(&["GSSAPI", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]), "", Honoured;
    "sasl.username", Both, Text, "", Honoured;
    "sasl.password", Both, Secret, "", Honoured;
    "sasl.kerberos.service.name", Both, Text, "kafka", NeedsLibrdkafka(NO_GSSAPI);
    "sasl.kerberos.principal", Both, Text, "kafkaclient", NeedsLibrdkafka(NO_GSSAPI);
    "sasl.kerberos.kinit.cmd", Both, Text, "", NeedsLibrdkafka(NO_GSSAPI);
    "sasl.kerberos.keytab", Both, Text, "", NeedsLibrdkafka(NO_GSSAPI);
    "sasl.kerberos.min.time.before.relogin", Both, Int(0, 86_400_000), "60000",
        NeedsLibrdkafka(NO_GSSAPI);
    "sasl.oauthbearer.config", Both, Secret, "", Honoured;
    "enable.sasl.oauthbearer.unsecure.jwt", Both, Bool, "false",
        NeedsLibrdkafka("tokens without a signature are not made; hand one in");
    "sasl.oauthbearer.method", Both, OneOf(&["default", "oidc"]), "default", Honoured;
    "sasl.oauthbearer.client.id" = "sasl.oauthbearer.client.credentials.client.id", Both, Text,
        "", Honoured;
    "sasl.oauthbearer.client.secret" = "sasl.oauthbearer.client.credentials.client.secret", Both,
        Secret, "", Honoured;
    "sasl.oauthbearer.scope", Both, Text, "", Honoured;
    "sasl.oauthbearer.extensions", Both, Text, "", Honoured;
    "sasl.oauthbearer.token.endpoint.url", Both, Text, "", Honoured;
    "sasl.oauthbearer.grant.type", Both,
        OneOf(&["client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"]),
        "client_credentials", NeedsLibrdkafka("assertions are not signed");
    "sasl.oauthbearer.assertion.algorithm", Both, OneOf(&["RS256", "ES256"]), "RS256",
        NeedsLibrdkafka("assertions are not signed");
    "sasl.oauthbearer.assertion.private.key.file", Both, Text, "",
        NeedsLibrdkafka("assertions are not signed");
    "sasl.oauthbearer.assertion.private.key.passphrase", Both, Secret, "",
        NeedsLibrdkafka("assertions are not signed");
    "sasl.oauthbearer.assertion.private.key.pem", Both, Secret, "",
        NeedsLibrdkafka("assertions are not signed");
    "sasl.oauthbearer.assertion.file", Both, Text, "",
        NeedsLibrdkafka("assertions are not signed");
    "sasl.oauthbearer.assertion.claim.aud", Both, Text, "",
        NeedsLibrdkafka("assertions are not signed");
    "sasl.oauthbearer.assertion.claim.exp.seconds", Both, Int(1, MAX), "300",
        NeedsLibrdkafka("assertions are not signed");
    "sasl.oauthbearer.assertion.claim.iss", Both, Text, "",
        NeedsLibrdkafka("assertions are not signed");
    "sasl.oauthbearer.assertion.claim.jti.include", Both, Bool, "false",
        NeedsLibrdkafka("assertions are not signed");
    "sasl.oauthbearer.assertion.claim.nbf.seconds", Both, Int(0, MAX), "60",
        NeedsLibrdkafka("assertions are not signed");
    "sasl.oauthbearer.assertion.claim.sub", Both, Text, "",
        NeedsLibrdkafka("assertions are not signed");
    "sasl.oauthbearer.assertion.jwt.template.file", Both, Text, "",
        NeedsLibrdkafka("assertions are not signed");
    "sasl.oauthbearer.metadata.authentication.type", Both, OneOf(&["none", "azure_imds"]), "none",
        NeedsLibrdkafka("tokens are not fetched from Azure's metadata service");

    // Groups.
    "group.id", Consumer, Text, "", Honoured;
    "group.instance.id", Consumer, Text, "", Honoured;
    "partition.assignment.strategy", Consumer,
        ListOf(&["range", "roundrobin", "cooperative-sticky", "co-partitioned-sticky"]),
        "range,roundrobin", Honoured;
    "session.timeout.ms", Consumer, Int(1, 3_600_000), "45000", Honoured;
    "heartbeat.interval.ms", Consumer, Int(1, 3_600_000), "3000", Honoured;
    "max.poll.interval.ms", Consumer, Int(1, 86_400_000), "300000", Honoured;
    "group.protocol", Consumer, OneOf(&["classic", "consumer"]), "classic", Honoured;
    "group.protocol.type", Consumer, Text, "consumer",
        NeedsLibrdkafka("groups are of the type consumer");
    "group.remote.assignor", Consumer, Text, "", Honoured;
    "coordinator.query.interval.ms", Consumer, Int(1, 3_600_000), "600000",
        NoEffect("the coordinator is asked for when it is no longer the one");
    "enable.auto.commit", Consumer, Bool, "true", Honoured;
    "auto.commit.enable", ConsumerTopic, Bool, "true",
        NoEffect("of librdkafka's old consumer; enable.auto.commit is the one");
    "auto.commit.interval.ms", Consumer, Int(0, 86_400_000), "5000", Honoured;
    "enable.auto.offset.store", Consumer, Bool, "true", Honoured;
    "auto.offset.reset", ConsumerTopic,
        OneOf(&["smallest", "earliest", "beginning", "largest", "latest", "end", "error"]),
        "latest", Honoured;
    "offset.store.method", Consumer, OneOf(&["none", "file", "broker"]), "broker",
        NeedsLibrdkafka("offsets are kept by the brokers");
    "offset.store.path", ConsumerTopic, Text, ".",
        NeedsLibrdkafka("offsets are kept by the brokers");
    "offset.store.sync.interval.ms", ConsumerTopic, Int(-1, 86_400_000), "-1",
        NeedsLibrdkafka("offsets are kept by the brokers");

    // Fetching.
    "isolation.level", Consumer, OneOf(&["read_uncommitted", "read_committed"]),
        "read_committed", Honoured;
    "fetch.wait.max.ms", Consumer, Int(0, 300_000), "500", Honoured;
    "fetch.min.bytes", Consumer, Int(1, 100_000_000), "1", Honoured;
    "fetch.max.bytes", Consumer, Int(0, 2_147_483_135), "52428800", Honoured;
    "fetch.message.max.bytes" = "max.partition.fetch.bytes", Consumer, Int(1, 1_000_000_000),
        "1048576", Honoured;
    "fetch.error.backoff.ms", Consumer, Int(0, 300_000), "500",
        NoEffect("retry.backoff.ms is used");
    "fetch.queue.backoff.ms", Consumer, Int(0, 300_000), "1000",
        NoEffect("fetching goes on as soon as there is room");
    "queued.min.messages", Consumer, Int(1, 10_000_000), "100000",
        NoEffect("what is fetched ahead is bounded in bytes");
    "queued.max.messages.kbytes", Consumer, Int(1, 2_097_151), "65536", Honoured;
    "enable.partition.eof", Consumer, Bool, "false", Honoured;
    "check.crcs", Consumer, Bool, "true", Honoured;
    "consume.callback.max.messages", ConsumerTopic, Int(0, 1_000_000), "0",
        NoEffect("there are no callbacks");

    // Producing.
    "transactional.id", Producer, Text, "", Honoured;
    "transaction.timeout.ms", Producer, Int(1000, MAX), "60000", Honoured;
    "enable.idempotence", Producer, Bool, "true", Honoured;
    "enable.gapless.guarantee", Producer, Bool, "false",
        NeedsLibrdkafka("a record that fails does not stop the producer");
    "queue.buffering.max.messages", Producer, Int(0, MAX), "100000", Honoured;
    "queue.buffering.max.kbytes", Producer, Int(1, MAX), "1048576", Honoured;
    "queue.buffering.max.ms" = "linger.ms", Producer, Float(0.0, 900_000.0), "5", Honoured;
    "queue.buffering.backpressure.threshold", Producer, Int(1, 1_000_000), "1",
        NoEffect("batches are closed when a request can take them");
    "message.send.max.retries" = "retries", Producer, Int(0, MAX), "2147483647", Honoured;
    "compression.codec" = "compression.type", Producer,
        OneOf(&["none", "gzip", "snappy", "lz4", "zstd", "inherit"]), "none", Honoured;
    "compression.level", ProducerTopic, Int(-1, 12), "-1", Honoured;
    "batch.num.messages", Producer, Int(1, 1_000_000), "10000", Honoured;
    "batch.size", Producer, Int(1, MAX), "1000000", Honoured;
    "sticky.partitioning.linger.ms", Producer, Int(0, 900_000), "10", Honoured;
    "delivery.report.only.error", Producer, Bool, "false",
        NoEffect("deliveries are counted, failures are reported one by one");
    "request.required.acks" = "acks", ProducerTopic, OneOf(&["0", "1", "-1", "all"]), "all",
        Honoured;
    "request.timeout.ms", ProducerTopic, Int(1, 900_000), "30000", Honoured;
    "message.timeout.ms" = "delivery.timeout.ms", ProducerTopic, Int(0, MAX), "300000", Honoured;
    "queuing.strategy", ProducerTopic, OneOf(&["fifo", "lifo"]), "fifo",
        NeedsLibrdkafka("records are sent in their order");
    "produce.offset.report", ProducerTopic, Bool, "false", NoEffect("deprecated");
    "partitioner", ProducerTopic,
        OneOf(&["random", "consistent", "consistent_random", "murmur2", "murmur2_random", "fnv1a",
            "fnv1a_random"]), "murmur2_random", Honoured;

    // What C programs set by functions.
    "error_cb", Both, Callback, "", NoEffect("events tell it");
    "throttle_cb", Both, Callback, "", NoEffect("throttling is obeyed");
    "stats_cb", Both, Callback, "", NoEffect("called by Python; Rust programs get an event");
    "log_cb", Both, Callback, "", NoEffect("log lines go to the program's logging");
    "background_event_cb", Both, Callback, "", NoEffect("events tell it");
    "socket_cb", Both, Callback, "", NoEffect("sockets are opened by the client");
    "connect_cb", Both, Callback, "", NoEffect("sockets are opened by the client");
    "closesocket_cb", Both, Callback, "", NoEffect("sockets are opened by the client");
    "open_cb", Both, Callback, "", NoEffect("the client opens files with close-on-exec");
    "resolve_cb", Both, Callback, "", NoEffect("the system's resolver is used");
    "opaque", BothTopic, Callback, "", NoEffect("there are no callbacks");
    "default_topic_conf", Both, Callback, "", NoEffect("settings of topics are given by name");
    "ssl_key", Both, Callback, "", NoEffect("ssl.key.pem is the one");
    "ssl_certificate", Both, Callback, "", NoEffect("ssl.certificate.pem is the one");
    "ssl_ca", Both, Callback, "", NoEffect("ssl.ca.pem is the one");
    "ssl_engine_callback_data", Both, Callback, "", NoEffect("OpenSSL is not used");
    "ssl.certificate.verify_cb", Both, Callback, "", NoEffect("rustls verifies");
    "oauthbearer_token_refresh_cb", Both, Callback, "", NoEffect("an event asks for a token");
    "interceptors", Both, Callback, "", NoEffect("there are no interceptors");
    "consume_cb", Consumer, Callback, "", NoEffect("there are no callbacks");
    "rebalance_cb", Consumer, Callback, "", NoEffect("events tell it");
    "offset_commit_cb", Consumer, Callback, "", NoEffect("events tell it");
    "dr_cb", Producer, Callback, "", NoEffect("events tell it");
    "dr_msg_cb", Producer, Callback, "", NoEffect("events tell it");
    "partitioner_cb", ProducerTopic, Callback, "", NoEffect("the partition can be given");
    "msg_order_cmp", ProducerTopic, Callback, "", NoEffect("records are sent in their order");
};
