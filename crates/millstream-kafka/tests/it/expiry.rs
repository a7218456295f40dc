//! What expires: a token is renewed in time, a certificate or a token that is over is refused.
//!
//! On embedded brokers of the tests' own; nothing else here can be had with a short life.

#[path = "../../../millstream-broker/tests/it/security/certificates.rs"]
mod certificates;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millstream_broker::{
    BrokerConfig, BrokerHandle, Listener, SecurityConfig, SecurityProtocol, TlsFiles,
};
use millstream_kafka::{
    ClientConfig, ConsumerConfig, ConsumerEvent, ConsumerSettings, NewTopic, OAuthToken,
    PartitionStart, ProducerEvent, Properties, StartOffset, TokenSource, admin_properties,
    consumer_properties, producer_properties,
};
use millstream_types::{Clock, SystemClock};

use crate::lane::Lane;
use crate::numbers::*;
use crate::support::*;
use certificates::Authority;

/// Whether such brokers are under test; if not, the test is left out, and it was said.
fn are_wanted() -> bool {
    let told = env("MILLSTREAM_TEST_LANES").is_some();
    if told && !Lane::are_embedded() {
        not_applicable("tools/kafka has neither a listener for tokens nor an expired certificate");
    }
    told && Lane::are_embedded()
}

/// An embedded broker with one listener.
fn broker(
    protocol: SecurityProtocol,
    security: SecurityConfig,
) -> (BrokerHandle, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = BrokerConfig::new(dir.path()).security(security);
    config.listeners = vec![Listener::new(protocol, SocketAddr::from(([127, 0, 0, 1], 0)))];
    (BrokerHandle::start(config, Arc::new(SystemClock)).unwrap(), dir)
}

fn with_tokens() -> Option<(BrokerHandle, tempfile::TempDir)> {
    let security = SecurityConfig { oauth_unsecured: true, ..SecurityConfig::default() };
    are_wanted().then(|| broker(SecurityProtocol::SaslPlaintext, security))
}

/// Long enough that what is left of it when a token is renewed, a fifth, is no race.
const LIFE_MS: i64 = 15_000;

/// Gives out tokens, signed by nobody, that last so long from now on.
struct Tokens {
    life_ms: i64,
    asked: AtomicU32,
}

impl Tokens {
    fn lasting(life_ms: i64) -> Arc<Self> {
        Arc::new(Self { life_ms, asked: AtomicU32::new(0) })
    }
}

impl TokenSource for Tokens {
    fn token(&self, _: &str) -> Result<OAuthToken, String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let now = SystemClock.wall();
        let end = now + self.life_ms;
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let claims =
            format!(r#"{{"sub":"ann","iat":{},"exp":{}}}"#, seconds(now.min(end)), seconds(end));
        Ok(OAuthToken {
            token: format!(
                "{}.{}.",
                URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
                URL_SAFE_NO_PAD.encode(claims)
            ),
            // The client must not be the one that refuses it.
            expires_at_ms: end.max(now + 60_000 * i64::from(self.life_ms < 0)),
            principal: "ann".to_owned(),
            extensions: Default::default(),
        })
    }
}

fn connection_of(broker: &BrokerHandle) -> Properties {
    Properties::from([
        ("bootstrap.servers", broker.address().to_string().as_str()),
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "OAUTHBEARER"),
    ])
}

/// The broker ends a session with its token. Ours renews it in time and nobody notices; with either
/// client nothing is lost or doubled.
#[test]
fn tokens_are_renewed_before_they_end() {
    let Some((broker, _dir)) = with_tokens() else { return };
    let (connection, none) = (connection_of(&broker), Properties::new());
    let tokens = [(); 3].map(|()| Tokens::lasting(LIFE_MS));
    let config = |properties: Properties, at: usize| {
        let mut config = ClientConfig::new(properties);
        config.token_source = Some(tokens[at].clone());
        config
    };
    let name = unique("renewed");
    let mut admin = clients().admin(&config(admin_properties(&none, &connection), 0)).unwrap();
    admin.create_topics(&[NewTopic::new(&name)], LIMIT).unwrap().remove(0).unwrap();
    admin.await_topics(&[&name], LIMIT).unwrap();
    let properties = producer_properties(&none, &connection);
    let mut producer = clients().producer(&config(properties, 1)).unwrap();
    let properties = consumer_properties(&none, &connection, &ConsumerSettings::default());
    let mut consumer = clients().consumer(&ConsumerConfig::new(config(properties, 2))).unwrap();
    consumer.assign(&[PartitionStart::new(tp(&name, 0), StartOffset::Beginning)]).unwrap();
    let handle = producer.topic(&name).unwrap();
    let mut next = 0;
    let (mut from_producer, mut from_consumer) = (Vec::new(), Vec::new());
    // Every first token was asked for before, and is over by then.
    let end = SystemClock.wall() + LIFE_MS;
    until("the second token of each, and the end of the first", || {
        produce(&mut *producer, handle, &mut next, 1);
        producer.flush(Duration::from_millis(20), &mut from_producer);
        consumer.poll(Duration::from_millis(20), &mut from_consumer);
        let asked = |tokens: &Arc<Tokens>| tokens.asked.load(Ordering::Relaxed);
        let renewed = tokens[1..].iter().all(|tokens| asked(tokens) >= 2);
        (renewed && SystemClock.wall() > end).then_some(())
    });
    flush(&mut *producer);
    assert_delivered(&from_producer);
    let mut values = Values::default();
    values.take(&from_consumer);
    until("the rest", || {
        let mut events = Vec::new();
        consumer.poll(Duration::from_millis(20), &mut events);
        values.take(&events);
        from_consumer.extend(events);
        (values.count() >= next as usize).then_some(())
    });
    let expected: Vec<_> = (0..next).map(|number| number.to_string()).collect();
    assert_eq!(values.texts(&tp(&name, 0)), expected);
    // librdkafka shows its last token once more before it takes the new one, and goes on after that.
    if is_librdkafka() {
        return;
    }
    let refused = |event: &ProducerEvent| matches!(event, ProducerEvent::Error(error) if error.is_authentication());
    assert!(!from_producer.iter().any(refused), "{from_producer:?}");
    let refused = |event: &ConsumerEvent| matches!(event, ConsumerEvent::Error(error) if error.is_authentication());
    assert!(!from_consumer.iter().any(refused), "{from_consumer:?}");
}

/// What a producer says that cannot connect, once it is about more than a lost connection.
fn refusal(config: &ClientConfig, is_it: impl Fn(&millstream_kafka::KafkaError) -> bool) -> String {
    let mut producer = clients().producer(config).unwrap();
    producer.topic("refused").unwrap();
    let mut events = Vec::new();
    until("a refusal", || {
        producer.probe();
        producer.flush(Duration::from_millis(50), &mut events);
        producer.poll(&mut events);
        events.drain(..).find_map(|event| match event {
            ProducerEvent::Error(error) | ProducerEvent::BrokersDown(error) if is_it(&error) => {
                Some(error.to_string())
            }
            _ => None,
        })
    })
}

#[test]
fn a_token_that_is_over_is_refused() {
    let Some((broker, _dir)) = with_tokens() else { return };
    let properties = producer_properties(&Properties::new(), &connection_of(&broker));
    let mut config = ClientConfig::new(properties);
    config.token_source = Some(Tokens::lasting(-60_000));
    refusal(&config, millstream_kafka::KafkaError::is_authentication);
}

/// C-13: the error says that it is the certificate, and ours what is wrong with it.
#[test]
fn a_certificate_that_is_over_is_refused() {
    if !are_wanted() {
        return;
    }
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new(files.path(), "ca");
    authority.sign("broker", "/CN=localhost", ("20200101000000Z", "20200102000000Z"));
    let tls = TlsFiles {
        certificate: authority.certificate("broker"),
        key: authority.key("broker"),
        client_ca: None,
        client_required: false,
    };
    let security = SecurityConfig { tls: Some(tls), ..SecurityConfig::default() };
    let (broker, _dir) = broker(SecurityProtocol::Ssl, security);
    let properties = Properties::from([
        ("bootstrap.servers", broker.address().to_string().as_str()),
        ("security.protocol", "ssl"),
        ("ssl.ca.location", authority.certificate("ca").to_str().unwrap()),
    ]);
    let config = ClientConfig::new(producer_properties(&Properties::new(), &properties));
    let said = refusal(&config, |error| error.to_string().contains("certificate"));
    // librdkafka does not say what is wrong with it.
    assert!(said.contains("expired") || is_librdkafka(), "{said}");
}
