//! TLS and SASL.

use std::time::Duration;

use millstream_kafka::{
    ClientConfig, ConsumerConfig, ConsumerEvent, ConsumerSettings, OAuthToken, PartitionStart,
    ProducerEvent, Properties, StartOffset, TokenSource, admin_properties, consumer_properties,
    producer_properties,
};

use crate::support::*;

fn secure(mechanism: &str, password: &str) -> Option<Properties> {
    let brokers = env("MILLSTREAM_TEST_SECURE_BROKERS")?;
    let ca = env("MILLSTREAM_TEST_CA")?;
    Some(Properties::from([
        ("bootstrap.servers", &*brokers),
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanism", mechanism),
        ("sasl.username", "alice"),
        ("sasl.password", password),
        ("ssl.ca.location", &*ca),
    ]))
}

#[test]
fn tls_with_plain_and_scram() {
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let Some(connection) = secure(mechanism, "alice-secret") else { return };
        let none = Properties::new();
        let config = ClientConfig::new(admin_properties(&none, &connection));
        let mut admin = clients().admin(&config).unwrap();
        let name = unique("secure");
        let new = millstream_kafka::NewTopic::new(&name);
        admin.create_topics(&[new], LIMIT).unwrap().remove(0).unwrap();
        admin.await_topics(&[&name], LIMIT).unwrap();

        let config = ClientConfig::new(producer_properties(&none, &connection));
        let mut producer = clients().producer(&config).unwrap();
        let handle = producer.topic(&name).unwrap();
        producer.produce(&record(handle, 0, None, Some(b"secret"))).unwrap();
        flush(&mut *producer);

        let properties = consumer_properties(&none, &connection, &ConsumerSettings::default());
        let config = ConsumerConfig::new(ClientConfig::new(properties));
        let mut consumer = clients().consumer(&config).unwrap();
        consumer.assign(&[PartitionStart::new(tp(&name, 0), StartOffset::Beginning)]).unwrap();
        assert_eq!(read(&mut *consumer, 1).texts(&tp(&name, 0)), ["secret"]);
    }
}

/// C-13: a wrong password is an authentication error, and no text shows it.
#[test]
fn a_wrong_password_is_told_and_not_shown() {
    let Some(connection) = secure("PLAIN", "not-the-password") else { return };
    let config = ClientConfig::new(producer_properties(&Properties::new(), &connection));
    assert!(!format!("{config:?}").contains("not-the-password"));
    let mut producer = clients().producer(&config).unwrap();
    let mut events = Vec::new();
    let error = until("an authentication error", || {
        producer.flush(Duration::from_millis(50), &mut events);
        producer.poll(&mut events);
        let text = format!("{events:?}");
        assert!(!text.contains("not-the-password"), "{text}");
        events.drain(..).find_map(|event| match event {
            ProducerEvent::Error(error) if error.is_authentication() => Some(error),
            _ => None,
        })
    });
    assert!(!error.to_string().contains("not-the-password"));
}

struct Tokens;

impl TokenSource for Tokens {
    fn token(&self, config: &str) -> Result<OAuthToken, String> {
        assert_eq!(config, "scope=x");
        Err("no token today".to_owned())
    }
}

/// The need for a token is an event, or goes to the token source, on the thread that polls.
#[test]
fn oauth_tokens_are_asked_for() {
    let connection = Properties::from([
        ("bootstrap.servers", "127.0.0.1:1"),
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.oauthbearer.config", "scope=x"),
    ]);
    let settings = ConsumerSettings { group_id: Some("g".into()), ..ConsumerSettings::default() };
    let properties = consumer_properties(&Properties::new(), &connection, &settings);
    let mut config = ConsumerConfig::new(ClientConfig::new(properties));
    let mut consumer = clients().consumer(&config).unwrap();
    let mut events = Vec::new();
    let asked = wait_for(&mut *consumer, &mut events, "a token", |event| match event {
        ConsumerEvent::OAuthTokenNeeded { config } => Some(config.clone()),
        _ => None,
    });
    assert_eq!(asked, "scope=x");
    let mut token = OAuthToken {
        token: "abc".to_owned(),
        expires_at_ms: 4_000_000_000_000,
        principal: "p".to_owned(),
        extensions: [("name".to_owned(), "value".to_owned())].into(),
    };
    consumer.set_oauth_token(Ok(&token)).unwrap();
    token.expires_at_ms = 1;
    assert!(consumer.set_oauth_token(Ok(&token)).is_err(), "expired");

    config.client.token_source = Some(std::sync::Arc::new(Tokens));
    let mut consumer = clients().consumer(&config).unwrap();
    let error = wait_for(&mut *consumer, &mut events, "the failure", |event| match event {
        ConsumerEvent::Error(error) => Some(error.to_string()),
        ConsumerEvent::OAuthTokenNeeded { .. } => panic!("the source was to be asked"),
        _ => None,
    });
    assert!(error.contains("no token today"), "{error}");
}
