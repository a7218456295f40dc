//! Tokens from an HTTP server of the test's own, and what clients of a broker make of them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millstream_broker::{BrokerConfig, BrokerHandle, SecurityConfig};
use millstream_types::SystemClock;
use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::admin::Admin;
use crate::consumer::{Bounds, Consumer, ConsumerEvent};
use crate::driver::script::serve;
use crate::settings::{ConsumerSettings, Pem, Secret, SecurityProtocol};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);
/// A port where nobody listens: one that the system has given and taken back, another test may get.
const AWAY: u16 = 1;
/// `app:hunter2`.
const AUTHORIZATION: &str = "Basic YXBwOmh1bnRlcjI=";

/// A token of ann's that nobody has signed.
fn jwt(lives: Duration) -> String {
    let ends = SystemClock.wall() as f64 / 1000.0 + lives.as_secs_f64();
    let claims = format!(r#"{{"sub":"ann","exp":{ends}}}"#);
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims))
}

fn good(lives: Duration) -> String {
    http("200 OK", &format!(r#"{{"access_token":"{}","token_type":"Bearer"}}"#, jwt(lives)))
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Reads a request: its head without the names' case, and its body.
fn request(stream: impl Read) -> Option<(String, String)> {
    let mut stream = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        let (name, value) = line.split_once(": ").unwrap_or(("", &line));
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
        head.extend([name.to_ascii_lowercase().as_str(), ": ", value]);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).unwrap()))
}

/// A server that gives `answer` to whoever knows the secret. Gives its port, and an item for each
/// request that it has answered.
fn endpoint_server(
    answer: impl Fn() -> String + Send + 'static,
) -> (u16, mpsc::Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::channel();
    serve(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let Some(request) = request(&stream) else { continue };
            let denied = http("401 Unauthorized", r#"{"error":"invalid_client"}"#);
            let knows = request.0.contains(AUTHORIZATION);
            let _ = stream.write_all(if knows { answer() } else { denied }.as_bytes());
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    (port, receiver)
}

fn endpoint(url: String) -> TokenEndpoint {
    TokenEndpoint {
        url,
        client_id: "app".into(),
        client_secret: Secret::new("hunter2"),
        scope: "kafka".into(),
        extensions: [].into(),
        authorities: None,
    }
}

fn at(port: u16) -> TokenEndpoint {
    endpoint(format!("http://127.0.0.1:{port}/token"))
}

fn fetched(endpoint: &TokenEndpoint, patience: Duration) -> Fetched {
    fetch(endpoint, &agent(endpoint, patience).unwrap(), &SystemClock)
}

/// Why there is no token. Names the endpoint and keeps the secret.
fn refused(endpoint: &TokenEndpoint, patience: Duration) -> NoToken {
    let error = fetched(endpoint, patience).unwrap_err();
    assert!(error.text.contains(endpoint.shown()), "{}", error.text);
    assert!(
        !error.text.contains("hunter2") && !error.text.contains("aHVudGVyMg"),
        "{}",
        error.text
    );
    error
}

#[test]
fn a_token_is_fetched_over_http() {
    let (port, requests) = endpoint_server(|| good(LONG));
    let token = fetched(&at(port), LONG).unwrap();
    assert_eq!(token.principal, "ann");
    let (head, body) = requests.recv().unwrap();
    assert!(head.contains("POST /token HTTP/1.1"), "{head}");
    assert!(head.contains("content-type: application/x-www-form-urlencoded\r\n"), "{head}");
    assert!(head.contains("accept: application/json\r\n"), "{head}");
    assert_eq!(body, "grant_type=client_credentials&scope=kafka");
}

#[test]
fn endpoints_that_give_no_token_are_told_apart() {
    let (port, _requests) = endpoint_server(|| good(LONG));
    let error = refused(&TokenEndpoint { client_secret: Secret::new("wrong"), ..at(port) }, LONG);
    assert!(error.refused && error.text.contains("401 invalid_client"), "{error:?}");
    assert!(!error.text.contains("wrong"), "{error:?}");

    let error = refused(&at(AWAY), LONG);
    assert!(!error.refused && error.text.contains("cannot be reached"), "{error:?}");

    for (answer, words) in [
        ("no HTTP at all\r\n\r\n".to_owned(), "does not speak HTTP"),
        (http("200 OK", &" ".repeat(600_000)), "more than 524288 bytes"),
        (format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(600_000)), "more than 524288 bytes"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{".to_owned(), "token endpoint"),
        ("HTTP/1.1 307 Off\r\nLocation: http://127.0.0.1:1/\r\n\r\n".to_owned(), "redirections"),
        (http("200 OK", "<html>"), "something else than JSON"),
        (http("200 OK", r#"{"access_token":"opaque"}"#), "without an end"),
    ] {
        let (port, _requests) = endpoint_server(move || answer.clone());
        let error = refused(&at(port), LONG);
        assert!(!error.refused && error.text.contains(words), "{error:?}");
    }

    // Nobody accepts; the system's queue takes the request.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = refused(&at(silent.local_addr().unwrap().port()), Duration::from_millis(100));
    assert!(!error.refused && error.text.contains("no answer in time"), "{error:?}");
}

#[test]
fn https_wants_a_certificate_of_a_trusted_authority() {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let mut endpoint = at(0);
    for (trusted, is_ours) in [(certificate.pem(), true), (other_certificate(), false)] {
        let config = rustls::ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                key.serialize_der().try_into().unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = serve(move || {
            let mut session = rustls::ServerConnection::new(config.into()).unwrap();
            let mut socket = listener.accept().unwrap().0;
            let mut stream = rustls::Stream::new(&mut session, &mut socket);
            if request(&mut stream).is_some() {
                stream.write_all(good(LONG).as_bytes()).unwrap();
            }
        });
        endpoint.url = format!("https://127.0.0.1:{port}/token");
        endpoint.authorities = Some(Pem::Text(Secret::new(trusted)));
        if is_ours {
            fetched(&endpoint, LONG).unwrap();
        } else {
            let error = refused(&endpoint, LONG);
            assert!(error.text.contains("https.ca.location"), "{error:?}");
        }
        server.join().unwrap();
    }
    endpoint.authorities = Some(Pem::File("/no/such/file".into()));
    assert_eq!(agent(&endpoint, LONG).unwrap_err().name, "https.ca.location");
    endpoint.url = "https://a b/".into();
    assert_eq!(agent(&endpoint, LONG).unwrap_err().name, "sasl.oauthbearer.token.endpoint.url");
}

fn other_certificate() -> String {
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

/// A broker that takes tokens nobody has signed, and the settings of its clients.
fn broker(endpoint: TokenEndpoint) -> (BrokerHandle, tempfile::TempDir, ConnectionSettings) {
    let dir = tempfile::tempdir().unwrap();
    let security = SecurityConfig { oauth_unsecured: true, ..SecurityConfig::default() };
    let config = BrokerConfig::new(dir.path())
        .and_listen(
            millstream_broker::SecurityProtocol::SaslPlaintext,
            SocketAddr::from(([127, 0, 0, 1], 0)),
        )
        .security(security);
    let broker = BrokerHandle::start(config, Arc::new(SystemClock)).unwrap();
    let settings = ConnectionSettings {
        bootstrap: vec![("127.0.0.1".into(), broker.addresses()[1].port())],
        protocol: SecurityProtocol::SaslPlaintext,
        sasl: Some(SaslSettings::ClientCredentials(endpoint)),
        ..ConnectionSettings::default()
    };
    (broker, dir, settings)
}

#[test]
fn brokers_take_what_the_endpoint_gives_and_tokens_are_renewed() {
    let (port, requests) = endpoint_server(|| good(Duration::from_secs(2)));
    let (_broker, _dir, settings) = broker(at(port));
    let mut admin = Admin::start(&settings).unwrap();
    assert_eq!(admin.cluster(LONG).unwrap().brokers.len(), 1);
    for _ in 0..2 {
        requests.recv_timeout(LONG).expect("the first token, and the one after it");
    }
    assert_eq!(admin.cluster(LONG).unwrap().brokers.len(), 1);
}

#[test]
fn a_client_without_a_token_says_why() {
    let (port, _requests) = endpoint_server(|| good(LONG));
    let wrong = TokenEndpoint { client_secret: Secret::new("wrong"), ..at(port) };
    let (_broker, _dir, mut settings) = broker(wrong);
    let error = Admin::start(&settings).unwrap().cluster(LONG).unwrap_err().to_string();
    assert!(error.contains("401 invalid_client") && !error.contains("wrong"), "{error}");

    let events = |settings: &ConnectionSettings| {
        let consumer = ConsumerSettings::default();
        let mut consumer = Consumer::new(settings.clone(), consumer, Bounds::default()).unwrap();
        let mut events = Vec::new();
        while events.is_empty() {
            consumer.poll(LONG, &mut events);
        }
        events
    };
    match &events(&settings)[..] {
        [ConsumerEvent::Error { error, fatal: false }] => {
            assert!(error.to_string().contains("invalid_client"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    settings.sasl = Some(SaslSettings::ClientCredentials(at(AWAY)));
    match &events(&settings)[..] {
        [ConsumerEvent::BrokersDown(error)] => {
            assert!(error.to_string().contains("cannot be reached"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
