use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::{digest, hmac, pbkdf2};

use super::*;

const FAILED: i16 = 58;

fn authenticate(bytes: impl Into<Vec<u8>>) -> SaslAuthenticateRequest {
    SaslAuthenticateRequest::default().with_auth_bytes(bytes.into().into())
}

/// A message of OAUTHBEARER with a token that nobody has signed and that ends in so many
/// milliseconds.
fn bearer(user: &str, left_ms: i64) -> Vec<u8> {
    let expires = (SystemClock.wall() + left_ms) as f64 / 1000.0;
    let claims = format!(r#"{{"sub":"{user}","exp":{expires}}}"#);
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let jwt = format!("{header}.{}.", URL_SAFE_NO_PAD.encode(claims));
    format!("n,,\u{1}auth=Bearer {jwt}\u{1}\u{1}").into_bytes()
}

fn with_unsigned_tokens(dir: &Path) -> BrokerConfig {
    let mut config = with_users(dir);
    config.security.oauth_unsecured = true;
    config
}

#[test]
fn a_token_that_has_expired_is_refused_and_one_that_expires_ends_the_session() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(with_unsigned_tokens(dir.path()));
    let address = broker.addresses()[1];
    let mut client = Client::connect(address);
    client.ask(1, &handshake("OAUTHBEARER"));
    let answer = client.ask(2, &authenticate(bearer("ann", -1000)));
    assert_eq!(answer.error_code, 0);
    assert_eq!(&answer.auth_bytes[..], br#"{"status":"invalid_token"}"#);
    let answer = client.ask(2, &authenticate(b"\x01"));
    assert_eq!(answer.error_code, FAILED);
    assert!(is_closed(&mut client));

    let mut client = Client::connect(address);
    client.ask(1, &handshake("OAUTHBEARER"));
    let answer = client.ask(2, &authenticate(bearer("ann", 1500)));
    assert!((1..=1500).contains(&answer.session_lifetime_ms), "{answer:?}");
    assert_eq!(client.ask(0, &ApiVersionsRequest::default()).error_code, 0);
    // Opened anew in time, it goes on; then it ends.
    client.ask(1, &handshake("OAUTHBEARER"));
    let answer = client.ask(2, &authenticate(bearer("ann", 1000)));
    let lifetime = Duration::from_millis(answer.session_lifetime_ms as u64);
    let until = SystemClock.monotonic() + lifetime + Duration::from_millis(5);
    assert_eq!(client.ask(0, &ApiVersionsRequest::default()).error_code, 0);
    while SystemClock.monotonic() < until {
        std::thread::yield_now();
    }
    client.send(0, &ApiVersionsRequest::default()).unwrap();
    assert!(is_closed(&mut client));
}

/// What proves with SCRAM-SHA-256 that somebody knows a password, for the broker's challenge.
fn proof(bare: &str, challenge: &str, password: &str) -> String {
    let field =
        |name: &str| challenge.split(',').find_map(|field| field.strip_prefix(name)).unwrap();
    let salt = STANDARD.decode(field("s=")).unwrap();
    let mut salted = [0; 32];
    let iterations = field("i=").parse().unwrap();
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(algorithm, iterations, &salt, password.as_bytes(), &mut salted);
    let mac = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let key = mac(&salted, b"Client Key");
    let stored = digest::digest(&digest::SHA256, key.as_ref());
    let without_proof = format!("c=biws,r={}", field("r="));
    let message = format!("{bare},{challenge},{without_proof}");
    let signature = mac(stored.as_ref(), message.as_bytes());
    let proof: Vec<u8> = key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
    format!("{without_proof},p={}", STANDARD.encode(proof))
}

#[test]
fn what_was_heard_of_one_exchange_is_worth_nothing_in_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(with_users(dir.path()));
    let bare = "n=ann,r=chosen by the client";
    let bare = &bare.replace(' ', "-");
    let begin = || {
        let mut client = Client::connect(broker.addresses()[1]);
        client.ask(1, &handshake("SCRAM-SHA-256"));
        let answer = client.ask(2, &authenticate(format!("n,,{bare}")));
        assert_eq!(answer.error_code, 0);
        (client, String::from_utf8(answer.auth_bytes.to_vec()).unwrap())
    };
    let (mut client, challenge) = begin();
    let last = proof(bare, &challenge, "secret");
    let answer = client.ask(2, &authenticate(last.clone()));
    assert_eq!(answer.error_code, 0);
    assert!(answer.auth_bytes.starts_with(b"v="));
    assert_eq!(client.ask(12, &MetadataRequest::default()).brokers.len(), 1);

    let (mut client, challenge) = begin();
    assert!(!last.contains(challenge.split(',').next().unwrap()));
    assert_eq!(client.ask(2, &authenticate(last)).error_code, FAILED);
    assert!(is_closed(&mut client));

    let (mut client, challenge) = begin();
    let wrong = proof(bare, &challenge, "Secret");
    assert_eq!(client.ask(2, &authenticate(wrong)).error_code, FAILED);
    assert!(is_closed(&mut client));
}
