use super::*;

fn group(id: &str) -> ConsumerSettings {
    ConsumerSettings { group_id: Some(id.into()), ..ConsumerSettings::default() }
}

/// extra configuration, then connection, then forced values.
#[test]
fn consumer_merge_order() {
    let extra = Properties::from([
        ("bootstrap.servers", "extra:1"),
        ("group.id", "of the user"),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "true"),
        ("enable.auto.offset.store", "true"),
        ("partition.assignment.strategy", "roundrobin"),
        ("fetch.queue.backoff.ms", "7"),
        ("session.timeout.ms", "6000"),
    ]);
    let connection = Properties::from([("bootstrap.servers", "real:2")]);
    let merged = consumer_properties(&extra, &connection, &group("g"));
    assert_eq!(merged.get("bootstrap.servers"), Some("real:2"));
    assert_eq!(merged.get("group.id"), Some("g"));
    assert_eq!(merged.get("auto.offset.reset"), Some("latest"));
    assert_eq!(merged.get("enable.auto.commit"), Some("false"));
    assert_eq!(merged.get("partition.assignment.strategy"), Some("range"));
    // Defaults that the extra configuration may change.
    assert_eq!(merged.get("enable.auto.offset.store"), Some("true"));
    assert_eq!(merged.get("fetch.queue.backoff.ms"), Some("7"));
    // What nobody else sets passes through.
    assert_eq!(merged.get("session.timeout.ms"), Some("6000"));
}

/// the defaults.
#[test]
fn consumer_defaults() {
    let merged = consumer_properties(&Properties::new(), &Properties::new(), &group("g"));
    assert_eq!(merged.get("enable.auto.offset.store"), Some("false"));
    assert_eq!(merged.get("fetch.queue.backoff.ms"), Some("100"));
}

#[test]
fn consumer_without_a_group_has_no_group_id() {
    let extra = Properties::from([("group.id", "of the user")]);
    let merged = consumer_properties(&extra, &Properties::new(), &ConsumerSettings::default());
    assert_eq!(merged.get("group.id"), None);
}

#[test]
fn broker_side_assignment_forbids_an_assignor() {
    let extra = Properties::from([
        ("group.protocol", "Consumer"),
        ("partition.assignment.strategy", "roundrobin"),
    ]);
    let merged = consumer_properties(&extra, &Properties::new(), &group("g"));
    assert_eq!(merged.get("partition.assignment.strategy"), None);
}

/// Static membership passes through.
#[test]
fn static_membership() {
    let extra = Properties::from([("group.instance.id", "pod-3")]);
    let merged = consumer_properties(&extra, &Properties::new(), &group("g"));
    assert_eq!(merged.get("group.instance.id"), Some("pod-3"));
}

/// A-07, C-11.
#[test]
fn producer_defaults_and_merge_order() {
    let merged = producer_properties(&Properties::new(), &Properties::new());
    assert_eq!(merged.get("enable.idempotence"), Some("true"));
    assert_eq!(merged.get("partitioner"), Some("murmur2_random"));
    let extra =
        Properties::from([("partitioner", "random"), ("delivery.report.only.error", "false")]);
    let merged = producer_properties(&extra, &Properties::from([("client.id", "c")]));
    assert_eq!(merged.get("partitioner"), Some("random"));
    assert_eq!(merged.get("delivery.report.only.error"), Some("true"));
    assert_eq!(merged.get("client.id"), Some("c"));
}

/// Two names of one setting are one setting, whichever the alphabet puts last.
#[test]
fn aliases_are_one_setting() {
    let extra =
        Properties::from([("queue.buffering.max.ms", "50"), ("metadata.broker.list", "a:1")]);
    let connection = Properties::from([("linger.ms", "2"), ("bootstrap.servers", "b:1")]);
    let merged = producer_properties(&extra, &connection);
    assert_eq!(merged.get("linger.ms"), Some("2"));
    assert_eq!(merged.get("queue.buffering.max.ms"), Some("2"));
    assert_eq!(merged.get("metadata.broker.list"), Some("b:1"));
    assert_eq!(
        merged
            .iter()
            .filter(|(name, _)| name.contains("linger") || name.contains("buffering"))
            .count(),
        1
    );
}

#[test]
fn admin_takes_the_connection_only() {
    let extra = Properties::from([
        ("group.id", "g"),
        ("linger.ms", "5"),
        ("ssl.ca.location", "/ca"),
        ("https.ca.location", "/ca of the token endpoint"),
        ("socket.keepalive.enable", "true"),
    ]);
    let merged = admin_properties(&extra, &Properties::from([("bootstrap.servers", "b:1")]));
    let names: Vec<_> = merged.iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        ["bootstrap.servers", "https.ca.location", "socket.keepalive.enable", "ssl.ca.location"]
    );
}

/// C-05.
#[test]
fn printing_hides_secrets() {
    let names = [
        "sasl.password",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
        "ssl.ca.pem",
    ];
    let properties: Properties = names.iter().map(|name| (name, "hunter2")).collect();
    for text in [format!("{properties:?}"), format!("{:?}", ClientConfig::new(properties.clone()))]
    {
        assert!(!text.contains("hunter2"), "{text}");
        assert!(names.iter().all(|name| text.contains(name)), "{text}");
    }
    assert!(!is_secret("sasl.oauthbearer.token.endpoint.url"));
    let token = OAuthToken {
        token: "hunter2".into(),
        expires_at_ms: 1,
        principal: "p".into(),
        extensions: BTreeMap::new(),
    };
    assert!(!format!("{token:?}").contains("hunter2"));
}
