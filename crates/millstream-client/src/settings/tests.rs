use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const ADDRESS: (&str, &str) = ("bootstrap.servers", "localhost:9092");

fn with<'a>(given: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[ADDRESS], given].concat()
}

fn of_consumer(given: &[(&str, &str)]) -> ConsumerSettings {
    consumer(with(given)).unwrap().own
}

fn of_producer(given: &[(&str, &str)]) -> ProducerSettings {
    producer(with(given)).unwrap().own
}

fn consumer_error(given: &[(&str, &str)]) -> String {
    consumer(with(given)).unwrap_err().to_string()
}

fn producer_error(given: &[(&str, &str)]) -> String {
    producer(with(given)).unwrap_err().to_string()
}

#[test]
fn names_are_unique() {
    let mut seen = HashSet::new();
    for setting in SETTINGS {
        for name in [setting.name].iter().chain(setting.aliases) {
            assert!(seen.insert(*name), "{name} is there twice");
        }
    }
    assert!(seen.len() > 190, "librdkafka has more than {}", seen.len());
}

#[test]
fn every_default_is_a_value_that_can_be() {
    for setting in SETTINGS {
        if setting.default.is_empty() || setting.kind == Kind::Callback {
            continue;
        }
        let given = [(setting.name, setting.default)];
        let read = consumer(with(&given)).unwrap();
        if setting.support != Support::Honoured {
            assert_eq!(read.warnings, [], "the default of {} is warned of", setting.name);
        }
        producer(with(&given)).unwrap();
    }
}

#[test]
fn no_settings_mean_the_defaults() {
    let read = consumer([ADDRESS]).unwrap();
    let connection = ConnectionSettings {
        bootstrap: vec![("localhost".into(), 9092)],
        ..ConnectionSettings::default()
    };
    assert_eq!(read.connection, connection);
    assert_eq!(read.own, ConsumerSettings::default());
    assert_eq!(read.warnings, []);

    let read = producer([ADDRESS]).unwrap();
    assert_eq!(
        read.connection,
        ConnectionSettings { allow_auto_create_topics: true, ..connection.clone() }
    );
    let retries = i32::MAX as u32;
    assert_eq!(read.own, ProducerSettings { retries, ..ProducerSettings::default() });
    assert_eq!(admin([ADDRESS]).unwrap().connection, connection);
}

#[test]
fn a_map_can_be_read_and_aliases_count() {
    let map: BTreeMap<String, String> = [
        ("metadata.broker.list", "a:1, b , [::1]:3,[fe80::2]"),
        ("max.partition.fetch.bytes", "77"),
        ("auto.offset.reset", "Smallest"),
        ("group.id", "g"),
        ("partition.assignment.strategy", "co-partitioned-sticky, cooperative-sticky"),
        ("auto.commit.interval.ms", "100"),
        ("enable.partition.eof", "T"),
        ("fetch.wait.max.ms", "+20"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let read = consumer(&map).unwrap();
    let addresses = [("a", 1), ("b", 9092), ("::1", 3), ("fe80::2", 9092)];
    assert_eq!(
        read.connection.bootstrap,
        addresses.map(|(host, port)| (host.to_owned(), port)).to_vec()
    );
    assert_eq!(read.own.partition_fetch_bytes, 77);
    assert_eq!(read.own.offset_reset, OffsetReset::Earliest);
    assert!(read.own.partition_end);
    assert_eq!(read.own.fetch_wait, Duration::from_millis(20));
    let group = read.own.group.unwrap();
    assert_eq!(group.assignors, [Assignor::CoPartitioned, Assignor::CooperativeSticky]);
    assert_eq!(group.auto_commit_interval, Some(Duration::from_millis(100)));
}

#[test]
fn an_unknown_name_offers_the_nearest() {
    let cases = [
        ("sesion.timeout.ms", "did you mean session.timeout.ms?"),
        ("bootstrap.server", "did you mean bootstrap.servers?"),
        ("lingerms", "did you mean linger.ms?"),
        ("completely.else", "there is no such setting"),
        ("max.request.size", "is a setting of the Java client; here it is message.max.bytes"),
    ];
    for (name, expected) in cases {
        let error = consumer_error(&[(name, "1")]);
        assert!(error.contains(name) && error.ends_with(expected), "{error}");
    }
}

#[test]
fn a_bad_value_is_shown_with_what_is_allowed() {
    let cases = [
        ("session.timeout.ms", "0", "\"0\" is not a whole number from 1 to 3600000"),
        ("session.timeout.ms", "10s", "\"10s\" is not a whole number from 1 to 3600000"),
        ("check.crcs", "yes", "\"yes\" is not true or false"),
        ("auto.offset.reset", "first", "is not one of smallest, earliest"),
        ("partition.assignment.strategy", "range,sticky", "\"sticky\" is not one of range"),
        ("partition.assignment.strategy", " , ", "the list is empty"),
        ("linger.ms", "NaN", "is not a number from 0 to 900000"),
        ("acks", "2", "is not one of 0, 1, -1, all"),
        ("bootstrap.servers", "", "names no broker"),
        ("rebalance_cb", "0x1", "cannot be given as text"),
    ];
    for (name, value, expected) in cases {
        let given = match name {
            "bootstrap.servers" => vec![(name, value)],
            _ => with(&[(name, value)]),
        };
        let error = consumer(given).unwrap_err();
        assert_eq!(error.name, name);
        assert!(error.reason.contains(expected), "{error}");
    }
}

#[test]
fn addresses_that_are_none_are_refused() {
    for bad in ["a:b", "a:0", "a:70000", ":9092", "[::1", "[::1]x", "::1", "ssl://a:1"] {
        let error = consumer([("bootstrap.servers", bad)]).unwrap_err();
        assert_eq!(error.name, "bootstrap.servers", "{bad}");
    }
    let read = consumer([("bootstrap.servers", "PLAINTEXT://a:1")]).unwrap();
    assert_eq!(read.connection.bootstrap, [("a".to_owned(), 1)]);
}

#[test]
fn two_names_of_one_setting_contradict() {
    let error = producer_error(&[("acks", "all"), ("request.required.acks", "all")]);
    assert!(error.contains("is another name of acks"), "{error}");
}

#[test]
fn what_only_librdkafka_does_is_refused_unless_it_is_the_default() {
    let error = consumer_error(&[("ssl.crl.location", "/tmp/crl")]);
    assert!(error.contains("client=\"librdkafka\""), "{error}");
    assert_eq!(consumer(with(&[("ssl.crl.location", "")])).unwrap().warnings, []);
    consumer(with(&[("api.version.request", "1")])).unwrap();
    assert!(consumer_error(&[("api.version.request", "0")]).contains("librdkafka"));
}

#[test]
fn settings_of_the_other_kind_are_left_aside_with_a_warning() {
    let read = consumer(with(&[("linger.ms", "7"), ("queued.min.messages", "5")])).unwrap();
    let names: Vec<_> = read.warnings.iter().map(|warning| warning.name.as_str()).collect();
    assert_eq!(names, ["linger.ms", "queued.min.messages"]);
    assert_eq!(
        read.warnings[0].to_string(),
        "Kafka client setting linger.ms: has no effect on a consumer (it is for: producer)"
    );
    // Wrong values are wrong for everyone.
    assert!(consumer_error(&[("linger.ms", "x")]).contains("linger.ms"));
    assert_eq!(producer(with(&[("group.id", "g")])).unwrap().warnings.len(), 1);
    assert_eq!(admin(with(&[("acks", "1"), ("group.id", "g")])).unwrap().warnings.len(), 2);
}

#[test]
fn idempotence_has_its_conditions() {
    for (name, value) in [("acks", "1"), ("acks", "0"), ("max.in.flight", "6"), ("retries", "0")] {
        for with in [("enable.idempotence", "true"), ("transactional.id", "t")] {
            let error = producer_error(&[(name, value), with]);
            assert!(error.contains(name) && error.contains("enable.idempotence=false"), "{error}");
        }
        let switched_off = [(name, value), ("enable.idempotence", "false")];
        assert!(!of_producer(&switched_off).idempotent);
        // Nobody has asked for it.
        assert!(!of_producer(&[(name, value)]).idempotent);
    }
    assert!(of_producer(&[("acks", "all"), ("retries", "1"), ("max.in.flight", "5")]).idempotent);
    let error = producer_error(&[("transactional.id", "t"), ("enable.idempotence", "false")]);
    assert!(error.contains("transactional.id"), "{error}");
}

#[test]
fn a_transaction_bounds_the_other_times() {
    let given = [("transactional.id", "t"), ("transaction.timeout.ms", "20000")];
    let read = producer(with(&given)).unwrap();
    assert_eq!(read.own.delivery_timeout, Some(Duration::from_secs(20)));
    assert_eq!(read.connection.request_timeout, Duration::from_millis(19_900));
    for (name, value) in [("delivery.timeout.ms", "20001"), ("socket.timeout.ms", "20101")] {
        let error = producer_error(&[&given[..], &[(name, value)]].concat());
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn lingering_ends_before_the_delivery_time_out() {
    assert!(
        producer_error(&[("linger.ms", "9"), ("message.timeout.ms", "9")])
            .contains("must be above linger.ms")
    );
    let own = of_producer(&[("message.timeout.ms", "3")]);
    assert_eq!(own.linger, Duration::from_micros(2900));
    let own = of_producer(&[("linger.ms", "0.5"), ("message.timeout.ms", "0")]);
    assert_eq!((own.linger, own.delivery_timeout), (Duration::from_micros(500), None));
    assert_eq!(own.sticky_linger, Duration::from_millis(1));
}

#[test]
fn producer_values_arrive() {
    let own = of_producer(&[
        ("enable.idempotence", "false"),
        ("acks", "1"),
        ("compression.type", "ZSTD"),
        ("compression.level", "4"),
        ("partitioner", "fnv1a"),
        ("queue.buffering.max.messages", "0"),
        ("queue.buffering.max.kbytes", "2"),
    ]);
    assert_eq!(own.acks, Acks::Leader);
    assert_eq!((own.compression, own.compression_level), (Compression::Zstd, Some(4)));
    assert_eq!(own.partitioner, Partitioner::Fnv1a);
    assert_eq!((own.queue_max_records, own.queue_max_bytes), (usize::MAX, 2048));
    assert_eq!(of_producer(&[("acks", "-1")]).acks, Acks::All);
}

#[test]
fn fetch_sizes_are_adjusted_or_refused() {
    assert_eq!(of_consumer(&[]).fetch_max_bytes, 4 << 20);
    assert_eq!(of_consumer(&[("fetch.max.bytes", "20000000")]).fetch_max_bytes, 20_000_000);
    assert_eq!(of_consumer(&[("fetch.min.bytes", "9000000")]).fetch_max_bytes, 9_000_000);
    let own = of_consumer(&[("queued.max.messages.kbytes", "2000")]);
    assert_eq!(own.fetch_max_bytes, 1 << 20);
    let own = of_consumer(&[("queued.max.messages.kbytes", "1")]);
    assert_eq!(own.fetch_max_bytes, 1_000_000);
    assert!(consumer_error(&[("fetch.max.bytes", "999")]).contains("message.max.bytes"));
    let given = [("fetch.max.bytes", "200000000")];
    let read = consumer(with(&given)).unwrap();
    assert_eq!(read.connection.receive_max, 200_000_512);
    let error = consumer_error(&[given[0], ("receive.message.max.bytes", "200000000")]);
    assert!(error.contains("by 512"), "{error}");
}

#[test]
fn groups_have_their_conditions() {
    let mixed = [("partition.assignment.strategy", "range,cooperative-sticky")];
    assert!(consumer_error(&mixed).contains("cannot be mixed"));
    assert!(consumer_error(&[("max.poll.interval.ms", "44999")]).contains("session.timeout.ms"));
    for name in ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"] {
        let value = if name.ends_with("ms") { "5000" } else { "range" };
        let error = consumer_error(&[("group.protocol", "consumer"), (name, value)]);
        assert!(error.contains("group.protocol=consumer"), "{error}");
    }
    assert!(of_consumer(&[]).group.is_none());
    let interval = |given: &[(&'static str, &'static str)]| {
        of_consumer(&[&[("group.id", "g")], given].concat()).group.unwrap().auto_commit_interval
    };
    assert_eq!(interval(&[]), Some(Duration::from_secs(5)));
    assert_eq!(interval(&[("enable.auto.commit", "false")]), None);
    assert_eq!(interval(&[("enable.auto.offset.store", "false")]), None);
    assert_eq!(interval(&[("auto.commit.interval.ms", "0")]), None);
}

#[test]
fn sasl_needs_a_protocol_a_mechanism_and_credentials() {
    let sasl = ("security.protocol", "SASL_SSL");
    let user = ("sasl.username", "u");
    let password = ("sasl.password", "hunter2");
    let read = consumer(with(&[("sasl.mechanism", "PLAIN"), user, password])).unwrap();
    assert_eq!(read.connection.sasl, None);
    assert_eq!(read.warnings.len(), 1);

    let error = consumer_error(&[sasl]);
    assert!(error.contains("SCRAM-SHA-256") && error.contains("librdkafka"), "{error}");
    let error = consumer_error(&[sasl, ("sasl.mechanism", "gssapi")]);
    assert!(error.contains("client=\"librdkafka\""), "{error}");
    let error = consumer_error(&[sasl, ("sasl.mechanism", "PLAIN"), user]);
    assert!(error.contains("sasl.password"), "{error}");

    let read =
        consumer(with(&[sasl, ("sasl.mechanisms", "scram-sha-512"), user, password])).unwrap();
    let Some(SaslSettings::Scram { sha512, username, .. }) = &read.connection.sasl else {
        panic!("{:?}", read.connection.sasl)
    };
    assert!(*sha512 && username == "u");
    assert!(!format!("{read:?}").contains("hunter2"));
    let read = consumer(with(&[sasl, ("sasl.mechanism", "OAUTHBEARER"), user])).unwrap();
    assert!(matches!(read.connection.sasl, Some(SaslSettings::OAuthBearer { .. })));
    assert_eq!(read.warnings.len(), 1);
}

#[test]
fn oidc_needs_id_secret_and_url() {
    let oidc = [
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.oauthbearer.method", "OIDC"),
        ("sasl.oauthbearer.client.id", "app"),
        ("sasl.oauthbearer.client.credentials.client.secret", "hunter2"),
        ("sasl.oauthbearer.token.endpoint.url", "https://id.example/token?x"),
    ];
    for missing in &oidc[3..] {
        let given: Vec<_> = oidc.iter().copied().filter(|given| given != missing).collect();
        let error = consumer_error(&given);
        assert!(error.contains("sasl.oauthbearer.method=oidc needs it"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let read = |more: &[(&str, &str)]| consumer(with(&[&oidc[..], more].concat()));
    let extensions = ("sasl.oauthbearer.extensions", "cluster=lkc, pool = p=2");
    let scope = ("sasl.oauthbearer.scope", "kafka");
    let ok = read(&[scope, ("sasl.oauthbearer.extensions", "a=b,c=d=e"), ("https.ca.pem", "x")]);
    let ok = ok.unwrap();
    assert_eq!(ok.warnings, []);
    assert!(!format!("{ok:?}").contains("hunter2"));
    let Some(SaslSettings::ClientCredentials(endpoint)) = ok.connection.sasl else {
        panic!("{:?}", ok.connection.sasl)
    };
    assert_eq!(endpoint.shown(), "https://id.example/token");
    assert!(!format!("{endpoint:?}").contains('?'), "{endpoint:?}");
    assert_eq!(endpoint.client_secret.expose(), "hunter2");
    assert_eq!((&*endpoint.client_id, &*endpoint.scope), ("app", "kafka"));
    assert_eq!(
        endpoint.extensions,
        [("a", "b"), ("c", "d=e")].map(|(a, b)| (a.into(), b.into())).into()
    );
    assert_eq!(endpoint.authorities, Some(Pem::Text(Secret::new("x"))));
    for bad in [
        extensions,
        ("sasl.oauthbearer.extensions", "a"),
        ("sasl.oauthbearer.extensions", "auth=b"),
    ] {
        let error = read(&[bad]).unwrap_err();
        assert_eq!(error.name, "sasl.oauthbearer.extensions");
    }

    let of_url = |url| {
        consumer(with(&[&oidc[..5], &[("sasl.oauthbearer.token.endpoint.url", url)]].concat()))
    };
    for bad in [
        "id.example/token",
        "ftp://id.example",
        "https://",
        "https:///token",
        "https://a:hunter2@b/",
    ] {
        let error = of_url(bad).unwrap_err();
        assert_eq!(error.name, "sasl.oauthbearer.token.endpoint.url", "{bad}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let warnings = of_url("http://id.example/").unwrap().warnings;
    assert!(warnings[0].to_string().contains("in the clear"), "{warnings:?}");

    let read = consumer(with(&[&oidc[..2], &oidc[3..]].concat())).unwrap();
    assert!(matches!(read.connection.sasl, Some(SaslSettings::OAuthBearer { .. })));
    assert_eq!(read.warnings.len(), 3, "of each that has no effect: {:?}", read.warnings);
}

#[test]
fn secrets_are_not_shown_in_errors() {
    for setting in SETTINGS.iter().filter(|setting| setting.is_secret()) {
        let Err(error) = consumer(with(&[(setting.name, "hunter2")])) else { continue };
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let error = consumer_error(&[("ssl.keystore.password", "hunter2")]);
    assert!(error.contains("PKCS#12"), "{error}");
}

#[test]
fn tls_material_is_complete_and_given_once() {
    let tls = ("security.protocol", "ssl");
    assert!(consumer_error(&[tls, ("ssl.certificate.location", "c")]).contains("ssl.key.location"));
    assert!(consumer_error(&[tls, ("ssl.key.pem", "k")]).contains("certificate is missing"));
    assert!(
        consumer_error(&[("ssl.ca.location", "a"), ("ssl.ca.pem", "b")]).contains("remove one")
    );
    let read = consumer(with(&[tls, ("ssl.ca.location", "probe")])).unwrap();
    assert_eq!(read.connection.tls, TlsSettings::default());
    let read = consumer(with(&[
        ("ssl.ca.pem", "x"),
        ("ssl.key.password", "hunter2"),
        ("enable.ssl.certificate.verification", "false"),
        ("ssl.endpoint.identification.algorithm", "none"),
    ]))
    .unwrap();
    assert_eq!(read.connection.tls.authorities, Some(Pem::Text(Secret::new("x"))));
    assert_eq!(read.connection.tls.key_password, Some(Secret::new("hunter2")));
    assert!(!read.connection.tls.verify_certificate && !read.connection.tls.verify_host);
}

#[test]
fn connection_times_follow_from_each_other() {
    let age = |given: &[(&str, &str)]| {
        consumer(with(given)).unwrap().connection.metadata_max_age.as_secs()
    };
    let refresh = "topic.metadata.refresh.interval.ms";
    assert_eq!(age(&[]), 300);
    assert_eq!(age(&[("metadata.max.age.ms", "60000")]), 60);
    assert_eq!(age(&[(refresh, "40000"), ("metadata.max.age.ms", "60000")]), 40);
    assert_eq!(age(&[(refresh, "-1")]), 900);
    let error = consumer_error(&[("reconnect.backoff.ms", "20000")]);
    assert!(error.contains("reconnect.backoff.max.ms"), "{error}");
    let azure = consumer([("bootstrap.servers", "ns.servicebus.azure.example:9093")]).unwrap();
    assert_eq!(azure.connection.max_idle, Some(Duration::from_secs(230)));
}

proptest! {
    /// Whatever the value, a whole number arrives as it is or is refused.
    #[test]
    fn whole_numbers_are_kept_within_their_bounds(number in any::<i64>()) {
        let text = number.to_string();
        let read = consumer(with(&[("socket.timeout.ms", &text)]));
        prop_assert_eq!(read.is_ok(), (10..=300_000).contains(&number));
        if let Ok(read) = read {
            prop_assert_eq!(read.connection.request_timeout.as_millis() as i64, number);
        }
    }

    #[test]
    fn no_text_makes_reading_panic(name in "\\PC{0,30}", value in "\\PC{0,30}") {
        let _ = consumer([(name.as_str(), value.as_str())]);
        for setting in SETTINGS.iter().take(40) {
            let _ = producer(with(&[(setting.name, value.as_str())]));
        }
    }
}

/// The page that says what each setting does here, made from the table.
fn page() -> String {
    let mut page = String::from(
        "# Settings of the Kafka client\n\n\
         All settings of librdkafka 2.12, and what the built-in client makes of them. Names and \
         values are librdkafka's. A setting that needs librdkafka is refused unless it has its \
         default; `client=\"librdkafka\"` brings the client that has it, in a build with the feature \
         `librdkafka` (`MILLSTREAM_LIBRDKAFKA=1 pip install .`, `make build LIBRDKAFKA=1`). Settings without effect, \
         and those of a consumer given to a producer (and the other way round), are left aside \
         with a warning.\n\n\
         This page is made by a test of `crates/millstream-client`; \
         `MILLSTREAM_REWRITE=1 cargo test -p millstream-client --lib settings` writes it anew.\n\n\
         | Setting | For | Value | Default | Here |\n|---|---|---|---|---|\n",
    );
    for setting in SETTINGS {
        let mut names = format!("`{}`", setting.name);
        for alias in setting.aliases {
            let _ = write!(names, ", `{alias}`");
        }
        let value = match setting.kind {
            Kind::Text => "text".to_owned(),
            Kind::Secret => "text, never shown".to_owned(),
            Kind::Bool => "true, false".to_owned(),
            Kind::Int(low, high) => format!("{low} .. {high}"),
            Kind::Float(low, high) => format!("{low} .. {high}, fractions too"),
            Kind::OneOf(values) => values.join(", "),
            Kind::ListOf(values) => format!("list of {}", values.join(", ")),
            Kind::Callback => "function".to_owned(),
        };
        let default = match (setting.default, setting.name) {
            ("", "allow.auto.create.topics") => "false; producer: true".to_owned(),
            (_, "sticky.partitioning.linger.ms") => "twice `linger.ms`".to_owned(),
            (_, "enable.idempotence") => "`true`; false if `acks`, `retries` or \
                 `max.in.flight.requests.per.connection` is given so that it cannot be"
                .to_owned(),
            (_, "fetch.max.bytes") => "a sixteenth of `queued.max.messages.kbytes`, or \
                 `max.partition.fetch.bytes`, `fetch.min.bytes` or `message.max.bytes` if that is more"
                .to_owned(),
            ("", _) => String::new(),
            (default, _) => format!("`{default}`"),
        };
        let here = match setting.support {
            Support::Honoured => "honoured".to_owned(),
            // It can be set: Python does not hand it on to this client.
            Support::NoEffect { why } if setting.name == "stats_cb" => why.to_owned(),
            Support::NoEffect { why } => format!("no effect: {why}"),
            Support::NeedsLibrdkafka { why } => format!("needs librdkafka: {why}"),
        };
        let scope = setting.scope.name();
        let _ = writeln!(page, "| {names} | {scope} | {value} | {default} | {here} |");
    }
    page
}

#[test]
fn the_page_says_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/client-settings.md");
    if std::env::var_os("MILLSTREAM_REWRITE").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == page(),
        "docs/client-settings.md is not what the table says; MILLSTREAM_REWRITE=1 writes it anew"
    );
}
