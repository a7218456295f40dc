//! A connection that must say who it is: what may come when, and what is answered.

use super::*;
use crate::broker::Peer;
use crate::random::SystemRandom;
use crate::security::sasl::Mechanism;
use crate::security::{Secrets, SecurityConfig, Users};

pub(super) fn users(text: &str) -> Secrets {
    Secrets {
        users: Users::parse(text, &mut SystemRandom::default()).unwrap(),
        mechanisms: Mechanism::ALL[..3].to_vec(),
        ..Secrets::default()
    }
}

fn bench(settings: &[(&str, &str)]) -> Bench {
    let security = SecurityConfig { users: Some("users".into()), ..SecurityConfig::default() };
    let config = settings
        .iter()
        .fold(BrokerConfig::new("/data"), |config, (name, value)| config.setting(name, value));
    let mut bench = Bench::with(config.security(security));
    bench.broker.secure(users("ann:secret\nbob:secret"));
    bench
}

fn stranger() -> Peer {
    Peer::to_authenticate("127.0.0.1", 0)
}

impl Bench {
    fn from<R: Request>(&mut self, peer: &mut Peer, version: i16, request: &R) -> Reply {
        self.broker.receive(Self::frame(version, request), peer).unwrap()
    }

    fn answer_to<R: Request>(&mut self, peer: &mut Peer, version: i16, request: &R) -> R::Response {
        match self.from(peer, version, request) {
            Reply::Now(frame) => Self::decode::<R>(version, frame.into_bytes().unwrap()),
            other => panic!("{other:?}"),
        }
    }

    /// The answer with which the connection ends.
    fn last_answer<R: Request>(
        &mut self,
        peer: &mut Peer,
        version: i16,
        request: &R,
    ) -> R::Response {
        match self.from(peer, version, request) {
            Reply::Unauthenticated { answer, .. } => Self::decode::<R>(version, answer),
            other => panic!("{other:?}"),
        }
    }

    fn ends_without_answer<R: Request>(&mut self, peer: &mut Peer, version: i16, request: &R) {
        match self.from(peer, version, request) {
            Reply::Unauthenticated { answer, .. } if answer.is_empty() => {}
            other => panic!("{other:?}"),
        }
    }
}

fn handshake(mechanism: &str) -> SaslHandshakeRequest {
    SaslHandshakeRequest::default().with_mechanism(text(mechanism))
}

fn token(bytes: &'static [u8]) -> SaslAuthenticateRequest {
    SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from_static(bytes))
}

const GOOD: &[u8] = b"\0ann\0secret";

#[test]
fn versions_then_handshake_then_tokens_then_requests() {
    let mut bench = bench(&[]);
    let mut peer = stranger();
    assert!(peer.is_stranger() && peer.is_authenticating());
    let versions = ApiVersionsRequest::default();
    assert_eq!(bench.answer_to(&mut peer, 0, &versions).error_code, 0);
    let offered = bench.answer_to(&mut peer, 1, &handshake("PLAIN"));
    assert_eq!(offered.error_code, 0);
    let names: Vec<&str> = offered.mechanisms.iter().map(|name| name.as_str()).collect();
    assert_eq!(names, ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]);
    let done = bench.answer_to(&mut peer, 2, &token(GOOD));
    assert_eq!((done.error_code, done.session_lifetime_ms), (0, 0));
    assert!(!peer.is_stranger() && !peer.is_authenticating());
    assert!(bench.answer_to(&mut peer, 12, &MetadataRequest::default()).topics.is_empty());
    // Versions may be asked for again now; SASL is over, for the session does not end.
    assert_eq!(bench.answer_to(&mut peer, 0, &versions).error_code, 0);
    let code = ResponseError::IllegalSaslState.code();
    assert_eq!(bench.answer_to(&mut peer, 1, &handshake("PLAIN")).error_code, code);
    assert_eq!(bench.answer_to(&mut peer, 2, &token(GOOD)).error_code, code);
}

#[test]
fn an_unknown_version_of_api_versions_does_not_count() {
    let mut bench = bench(&[]);
    let mut peer = stranger();
    let frame = Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 77, 0xff, 0xff, 0, 5, 5, 5]);
    let reply = bench.broker.receive(frame, &mut peer).unwrap();
    assert!(matches!(reply, Reply::Now(_)), "{reply:?}");
    assert_eq!(bench.answer_to(&mut peer, 0, &ApiVersionsRequest::default()).error_code, 0);
    // A second time it is out of order, as in Kafka.
    bench.ends_without_answer(&mut peer, 0, &ApiVersionsRequest::default());
}

#[test]
fn whatever_comes_out_of_order_ends_the_connection() {
    let mut bench = bench(&[]);
    bench.ends_without_answer(&mut stranger(), 12, &MetadataRequest::default());
    bench.ends_without_answer(&mut stranger(), 2, &token(GOOD));
    let mut peer = stranger();
    bench.answer_to(&mut peer, 1, &handshake("PLAIN"));
    bench.ends_without_answer(&mut peer, 12, &MetadataRequest::default());
    let mut peer = stranger();
    bench.answer_to(&mut peer, 1, &handshake("PLAIN"));
    let answer = bench.last_answer(&mut peer, 1, &handshake("PLAIN"));
    assert_eq!(answer.error_code, ResponseError::IllegalSaslState.code());
    for frame in [&[][..], &[0], &[0xff; 20], &[0, 17, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0, 0]] {
        let reply = bench.broker.receive(Bytes::copy_from_slice(frame), &mut stranger());
        assert!(reply.is_err(), "{frame:?}: {reply:?}");
    }
}

#[test]
fn a_mechanism_that_is_not_offered() {
    let mut bench = bench(&[]);
    for name in ["GSSAPI", "OAUTHBEARER", "plain", ""] {
        let answer = bench.last_answer(&mut stranger(), 1, &handshake(name));
        assert_eq!(answer.error_code, ResponseError::UnsupportedSaslMechanism.code(), "{name}");
        assert_eq!(answer.mechanisms.len(), 3);
    }
}

#[test]
fn wrong_credentials_are_told_in_kafkas_words() {
    let mut bench = bench(&[]);
    for (mechanism, bad, expected) in [
        ("PLAIN", &b"\0ann\0wrong"[..], "Authentication failed: Invalid username or password"),
        ("PLAIN", b"\0eve\0secret", "Authentication failed: Invalid username or password"),
        (
            "PLAIN",
            b"garbage",
            "Authentication failed during authentication due to invalid credentials with SASL mechanism PLAIN",
        ),
        (
            "SCRAM-SHA-512",
            b"garbage",
            "Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512",
        ),
        ("SCRAM-SHA-256", b"", "SCRAM-SHA-256"),
    ] {
        for version in 0..=2 {
            let mut peer = stranger();
            bench.answer_to(&mut peer, 1, &handshake(mechanism));
            let answer = bench.last_answer(&mut peer, version, &token(bad));
            assert_eq!(answer.error_code, ResponseError::SaslAuthenticationFailed.code());
            let told = answer.error_message.unwrap();
            assert!(told.contains(expected), "{told}");
            assert!(peer.is_stranger());
        }
    }
}

#[test]
fn tokens_without_headers_after_an_old_handshake() {
    let mut bench = bench(&[]);
    let mut peer = stranger();
    bench.answer_to(&mut peer, 0, &handshake("PLAIN"));
    let reply = bench.broker.receive(Bytes::from_static(GOOD), &mut peer).unwrap();
    let Reply::Now(frame) = reply else { panic!("{reply:?}") };
    assert_eq!(&frame.into_bytes().unwrap()[..], [0, 0, 0, 0]);
    assert!(bench.answer_to(&mut peer, 12, &MetadataRequest::default()).topics.is_empty());
    let mut peer = stranger();
    bench.answer_to(&mut peer, 0, &handshake("PLAIN"));
    let reply = bench.broker.receive(Bytes::from_static(b"\0ann\0wrong"), &mut peer).unwrap();
    assert!(matches!(&reply, Reply::Unauthenticated { answer, .. } if answer.is_empty()));
}

#[test]
fn a_session_ends_and_is_opened_anew() {
    let mut bench = bench(&[("connections.max.reauth.ms", "60000")]);
    let open = |bench: &mut Bench| {
        let mut peer = stranger();
        bench.answer_to(&mut peer, 1, &handshake("PLAIN"));
        let done = bench.answer_to(&mut peer, 1, &token(GOOD));
        assert_eq!(done.session_lifetime_ms, 60_000);
        peer
    };
    let metadata = MetadataRequest::default();
    let mut late = open(&mut bench);
    let mut other = open(&mut bench);
    let mut peer = open(&mut bench);
    bench.clock.advance(Duration::from_secs(60));
    bench.answer_to(&mut late, 12, &metadata);
    bench.answer_to(&mut peer, 1, &handshake("PLAIN"));
    assert!(peer.is_authenticating() && !peer.is_stranger());
    bench.answer_to(&mut peer, 1, &token(GOOD));
    bench.clock.advance(Duration::from_millis(1));
    assert!(matches!(bench.from(&mut late, 12, &metadata), Reply::Close(_)));
    // Even then it is not too late to say again who one is; but not to become another.
    bench.answer_to(&mut other, 1, &handshake("PLAIN"));
    let refused = bench.last_answer(&mut other, 1, &token(b"\0bob\0secret"));
    assert!(refused.error_message.unwrap().contains("Cannot change principals"));
    bench.answer_to(&mut peer, 12, &metadata);
}

#[test]
fn who_has_logged_in_has_his_rights_and_no_others() {
    let security = SecurityConfig {
        users: Some("users".into()),
        acl: true,
        super_users: vec!["User:ann".into()],
        ..SecurityConfig::default()
    };
    let mut bench = Bench::with(BrokerConfig::new("/data").security(security));
    bench.broker.secure(users("ann:secret\nbob:secret"));
    for (message, expected) in [(GOOD, 0), (b"\0bob\0secret", 29)] {
        let mut peer = stranger();
        bench.answer_to(&mut peer, 1, &handshake("PLAIN"));
        bench.answer_to(&mut peer, 1, &token(message));
        let topic = CreatableTopic::default()
            .with_name(topic_name("t"))
            .with_num_partitions(1)
            .with_replication_factor(1);
        let request =
            CreateTopicsRequest::default().with_topics(vec![topic]).with_validate_only(true);
        assert_eq!(bench.answer_to(&mut peer, 7, &request).topics[0].error_code, expected);
    }
}
