//! Each mechanism against a broker that speaks frames, by way of the network.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, RequestHeader, ResponseHeader, SaslAuthenticateRequest,
    SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use super::*;
use crate::driver::SystemRandom;
use crate::network::{Action, ConnectionId, Failure, Health, Input, Network};
use crate::settings::{Secret, SecurityProtocol, TokenEndpoint};

const NODE: i32 = -1;

/// What a broker answers to a token of SASL: code, message and bytes.
type Answer = (i16, &'static str, Vec<u8>);

struct Test {
    net: Network,
    now: Now,
    /// How many frames a broker has answered with a token of SASL.
    tokens: usize,
    /// For how long a broker lets a session live; 0: for ever.
    lifetime_ms: i64,
    /// How often the driver was told to fetch a token of OAUTHBEARER.
    fetches: usize,
}

impl Test {
    fn new(sasl: SaslSettings) -> Self {
        let settings = ConnectionSettings {
            bootstrap: vec![("broker".into(), 9092)],
            protocol: SecurityProtocol::SaslPlaintext,
            sasl: Some(sasl),
            ..ConnectionSettings::default()
        };
        let authenticator = authenticator(&settings);
        assert!(authenticator.is_some());
        let net = Network::new(Arc::new(settings), authenticator, Box::<SystemRandom>::default());
        let now = Now { mono: Duration::ZERO, wall: 1_000_000 };
        Self { net, now, tokens: 0, lifetime_ms: 0, fetches: 0 }
    }

    /// Connects, and lets `broker` answer the tokens of SASL.
    fn connect(&mut self, mut broker: impl FnMut(&[u8]) -> Answer) -> Result<(), String> {
        self.net.ready(NODE, self.now);
        while let Some(action) = self.net.action() {
            match action {
                Action::Connect { connection, .. } => {
                    self.net.input(Input::Connected { connection }, self.now);
                }
                Action::Send { connection, bytes } => {
                    let frame = self.answer(bytes, &mut broker);
                    self.net.input(Input::Frame { connection, frame }, self.now);
                }
                Action::Close { connection: ConnectionId(_) } => break,
                Action::FetchToken => self.fetches += 1,
            }
        }
        match self.net.health(self.now) {
            Health::Up => Ok(()),
            Health::Down(failure) => Err(failure.to_string()),
            Health::Unknown => Err("nothing came of it".into()),
        }
    }

    fn answer(&mut self, mut request: Bytes, broker: &mut dyn FnMut(&[u8]) -> Answer) -> Bytes {
        request.advance(4);
        let key = ApiKey::try_from(i16::from_be_bytes([request[0], request[1]])).unwrap();
        let version = i16::from_be_bytes([request[2], request[3]]);
        let header_version = key.request_header_version(version);
        let header = RequestHeader::decode(&mut request, header_version).unwrap();
        let mut frame = BytesMut::new();
        ResponseHeader::default()
            .with_correlation_id(header.correlation_id)
            .encode(&mut frame, key.response_header_version(version))
            .unwrap();
        match key {
            ApiKey::ApiVersions => {
                let range = |key: ApiKey, max| {
                    ApiVersion::default().with_api_key(key as i16).with_max_version(max)
                };
                let keys =
                    vec![range(ApiKey::SaslHandshake, 1), range(ApiKey::SaslAuthenticate, 2)];
                ApiVersionsResponse::default()
                    .with_api_keys(keys)
                    .encode(&mut frame, version)
                    .unwrap();
            }
            ApiKey::SaslHandshake => {
                SaslHandshakeRequest::decode(&mut request, version).unwrap();
                SaslHandshakeResponse::default().encode(&mut frame, version).unwrap();
            }
            ApiKey::SaslAuthenticate => {
                self.tokens += 1;
                let token = SaslAuthenticateRequest::decode(&mut request, version).unwrap();
                let (code, message, bytes) = broker(&token.auth_bytes);
                SaslAuthenticateResponse::default()
                    .with_error_code(code)
                    .with_error_message(Some(StrBytes::from_static_str(message)))
                    .with_auth_bytes(bytes.into())
                    .with_session_lifetime_ms(if version > 0 { self.lifetime_ms } else { 0 })
                    .encode(&mut frame, version)
                    .unwrap();
            }
            key => panic!("{key:?} before the connection is ready"),
        }
        frame.freeze()
    }
}

#[test]
fn plain_is_one_message() {
    let sasl = || SaslSettings::Plain { username: "u".into(), password: Secret::new("p") };
    let mut test = Test::new(sasl());
    test.connect(|token| {
        assert_eq!(token, b"\0u\0p");
        (0, "", Vec::new())
    })
    .unwrap();
    assert_eq!(test.tokens, 1);

    let error = Test::new(sasl()).connect(|_| (58, "Authentication failed", Vec::new()));
    assert_eq!(error, Err("Authentication failed".into()));
}

#[test]
fn a_broker_that_does_not_know_the_password_is_refused() {
    let sasl =
        SaslSettings::Scram { sha512: false, username: "u".into(), password: Secret::new("p") };
    let mut messages = 0;
    let mut test = Test::new(sasl);
    let done = test.connect(|token| {
        messages += 1;
        match messages {
            1 => {
                let first = String::from_utf8(token.to_vec()).unwrap();
                let nonce = first.split_once("r=").unwrap().1;
                (0, "", format!("r={nonce}more,s=QQ==,i=4096").into_bytes())
            }
            _ => (0, "", b"v=AAAA".to_vec()),
        }
    });
    assert!(done.unwrap_err().contains("could not prove"));
    assert_eq!(test.tokens, 2);
}

#[test]
fn a_token_is_asked_for_and_brokers_are_tried_again_when_it_comes() {
    let mut test = Test::new(SaslSettings::OAuthBearer { config: Secret::default() });
    let error = test.connect(|_| panic!("there is nothing to send")).unwrap_err();
    assert!(error.contains("no valid OAuth token"), "{error}");
    assert!(test.net.take_token_needed());
    assert!(!test.net.take_token_needed());
    // Nothing is asked for twice at once, however often the brokers are tried.
    test.now.mono += Duration::from_secs(9);
    test.net.tick(test.now);
    test.connect(|_| panic!("there is nothing to send")).unwrap_err();
    assert!(!test.net.take_token_needed());
    assert!(test.net.next_deadline(test.now).unwrap() <= Duration::from_secs(10));

    let token = OAuthToken {
        token: Secret::new("abc"),
        expires_at_ms: 1_000_000 + 100_000,
        principal: String::new(),
        extensions: [].into(),
    };
    test.net.set_token(token.clone(), test.now).unwrap();
    test.connect(|sent| {
        assert_eq!(sent, b"n,,\x01auth=Bearer abc\x01\x01");
        (0, "", Vec::new())
    })
    .unwrap();
    // At four fifths of its life the next one is asked for.
    assert_eq!(test.net.next_deadline(test.now), Some(test.now.mono + Duration::from_secs(80)));
    test.now.mono += Duration::from_secs(80);
    test.now.wall += 80_000;
    test.net.tick(test.now);
    assert!(test.net.take_token_needed());

    let mut test =
        Test::new(SaslSettings::Plain { username: "u".into(), password: Secret::new("p") });
    assert!(test.net.set_token(token, test.now).unwrap_err().contains("takes no token"));
}

fn endpoint() -> TokenEndpoint {
    TokenEndpoint {
        url: "http://id.example/token".into(),
        client_id: "app".into(),
        client_secret: Secret::new("hunter2"),
        scope: String::new(),
        extensions: [].into(),
        authorities: None,
    }
}

#[test]
fn the_driver_is_told_to_fetch_tokens_one_at_a_time() {
    let mut test = Test::new(SaslSettings::ClientCredentials(endpoint()));
    let nothing = |_: &[u8]| -> Answer { panic!("there is nothing to send") };
    assert!(test.connect(nothing).unwrap_err().contains("no valid OAuth token"));
    // However slow the endpoint is.
    test.now.mono += Duration::from_secs(15);
    assert!(test.connect(nothing).is_err());
    assert_eq!(test.fetches, 1);
    assert!(!test.net.take_token_needed(), "the owner has nothing to do with it");

    for (refused, text) in [(false, "away"), (true, "refused")] {
        let no_token = NoToken { text: text.into(), refused };
        test.net.input(Input::Token(Err(no_token)), test.now);
        let Health::Down(failure) = test.net.health(test.now) else { panic!("there is no token") };
        assert_eq!(failure.to_string(), format!("no OAuth token: {text}"));
        assert_eq!(matches!(failure, Failure::Authentication(_)), refused);
        test.now.mono += Duration::from_secs(10);
        assert!(test.connect(nothing).unwrap_err().contains(text));
    }
    assert_eq!(test.fetches, 3);

    let token = |expires_at_ms| OAuthToken {
        token: Secret::new("abc"),
        expires_at_ms,
        principal: String::new(),
        extensions: [].into(),
    };
    test.net.input(Input::Token(Ok(token(1))), test.now);
    assert!(test.connect(nothing).unwrap_err().contains("expired already"));
    test.net.input(Input::Token(Ok(token(1_100_000))), test.now);
    test.connect(|_| (0, "", Vec::new())).expect("brokers are tried again at once");
}

#[test]
fn a_fetched_token_that_a_broker_refuses_is_fetched_anew() {
    let mut test = Test::new(SaslSettings::ClientCredentials(endpoint()));
    let token = || OAuthToken {
        token: Secret::new("abc"),
        expires_at_ms: i64::MAX,
        principal: String::new(),
        extensions: [].into(),
    };
    let denied = |_: &[u8]| (58, "denied", Vec::new());
    test.net.input(Input::Token(Ok(token())), test.now);
    assert!(test.connect(denied).unwrap_err().contains("denied"));
    let later = |test: &mut Test, seconds| {
        test.now.mono += Duration::from_secs(seconds);
        test.net.tick(test.now);
    };
    for fetches in 1..=2 {
        later(&mut test, 1);
        let _ = test.connect(denied);
        assert_eq!(test.fetches, fetches);
        test.net.input(Input::Token(Ok(token())), test.now);
        for _ in 0..3 {
            assert!(test.connect(denied).unwrap_err().contains("denied"));
            later(&mut test, 1);
        }
        assert_eq!(test.fetches, fetches, "once, not with each refusal");
        later(&mut test, 30);
        assert!(test.connect(denied).unwrap_err().contains("denied"));
    }
    test.net.input(Input::Token(Ok(token())), test.now);
    test.connect(|_| (0, "", Vec::new())).expect("the broker knows it by now");
}

#[test]
fn a_refused_token_is_told_in_the_words_of_the_broker() {
    let mut test = Test::new(SaslSettings::OAuthBearer { config: Secret::default() });
    let token = OAuthToken {
        token: Secret::new("abc"),
        expires_at_ms: i64::MAX,
        principal: "alice".into(),
        extensions: [].into(),
    };
    test.net.set_token(token, test.now).unwrap();
    let error = test.connect(|sent| match sent {
        [1] => (58, "denied", Vec::new()),
        _ => (0, "", br#"{"status":"invalid_token"}"#.to_vec()),
    });
    assert_eq!(
        error.unwrap_err(),
        "the broker refused the OAuth token of \"alice\" with status invalid_token: denied"
    );
}

#[test]
fn settings_decide_whether_there_is_an_authenticator() {
    let mut settings = ConnectionSettings {
        sasl: Some(SaslSettings::OAuthBearer { config: Secret::default() }),
        ..ConnectionSettings::default()
    };
    assert!(authenticator(&settings).is_none(), "the protocol has no SASL");
    settings.protocol = SecurityProtocol::SaslSsl;
    assert_eq!(authenticator(&settings).unwrap().mechanism(), "OAUTHBEARER");
    settings.sasl = None;
    assert!(authenticator(&settings).is_none());
}

/// KIP-368: at nine tenths of a session's life nothing new is sent, and once nothing is out the
/// exchange is made again on the same connection.
#[test]
fn a_session_is_renewed_before_the_broker_ends_it() {
    let sasl = SaslSettings::Plain { username: "u".into(), password: Secret::new("p") };
    let mut test = Test::new(sasl);
    test.lifetime_ms = 10_000;
    test.connect(|_| (0, "", Vec::new())).unwrap();
    assert_eq!(test.net.next_deadline(test.now), Some(Duration::from_secs(9)));
    test.now.mono += Duration::from_millis(8_999);
    assert!(test.net.ready(NODE, test.now));
    test.now.mono += Duration::from_millis(1);
    assert!(!test.net.ready(NODE, test.now));
    assert_eq!(test.tokens, 1);
    test.net.tick(test.now);
    test.connect(|_| (0, "", Vec::new())).unwrap();
    assert_eq!(test.tokens, 2);
    assert!(test.net.ready(NODE, test.now));
    assert_eq!(test.net.next_deadline(test.now), Some(test.now.mono + Duration::from_secs(9)));
}
