use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, NameConstraints,
};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::*;
use crate::driver::script::{Scripted, echo, framed, serve};
use crate::settings::{ConnectionSettings, Secret, SecurityProtocol};

/// An authority of the name.
fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for these names, and its key.
struct Issued {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

fn issue(
    by: &CertifiedIssuer<'static, KeyPair>,
    names: &[&str],
    change: impl FnOnce(&mut CertificateParams),
) -> Issued {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, by).unwrap();
    Issued { certificate, key }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn server_config(
    issued: &Issued,
    clients: Option<&CertifiedIssuer<'static, KeyPair>>,
) -> ServerConfig {
    server_config_of(issued, clients, rustls::DEFAULT_VERSIONS)
}

fn server_config_of(
    issued: &Issued,
    clients: Option<&CertifiedIssuer<'static, KeyPair>>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ServerConfig {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::try_from(issued.key.serialize_der()).unwrap();
    builder.with_single_cert(vec![issued.certificate.der().clone()], key).unwrap()
}

/// A server on loopback that does `work` with one connection.
fn server(work: impl FnOnce(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    serve(move || work(listener.accept().unwrap().0));
    port
}

/// A server that sends frames back over TLS.
fn echo_server(config: ServerConfig) -> u16 {
    server(move |mut socket| {
        let mut session = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        echo(&mut rustls::Stream::new(&mut session, &mut socket));
    })
}

fn trusting(authority: &CertifiedIssuer<'static, KeyPair>) -> TlsSettings {
    TlsSettings {
        authorities: Some(Pem::Text(Secret::new(authority.pem()))),
        ..TlsSettings::default()
    }
}

fn start(tls: TlsSettings) -> Scripted {
    let settings = ConnectionSettings {
        protocol: SecurityProtocol::Ssl,
        tls,
        ..ConnectionSettings::default()
    };
    Scripted::start(&settings)
}

/// Sends some frames there and back.
fn exchange(client: &Scripted) {
    client.connected();
    for size in [1, 16_384, 16_385, 2_000_000] {
        let body = vec![size as u8; size];
        client.send(1, framed(&body));
        assert!(client.frame() == body, "{size}");
    }
}

/// Why the connection to `server` is refused.
fn refused(tls: TlsSettings, server: u16) -> String {
    let client = start(tls);
    client.connect(1, "127.0.0.1", server);
    let (reason, tls) = client.closed();
    assert!(tls, "{reason}");
    assert!(reason.starts_with("127.0.0.1: TLS: "), "{reason}");
    reason
}

#[test]
fn frames_go_through_tls() {
    let authority = authority("ours");
    let issued = issue(&authority, &["127.0.0.1", "localhost"], |_| {});
    for host in ["127.0.0.1", "localhost"] {
        let client = start(trusting(&authority));
        client.connect(1, host, echo_server(server_config(&issued, None)));
        exchange(&client);
    }
}

#[test]
fn more_than_the_socket_takes_goes_through_tls() {
    let authority = authority("ours");
    let issued = issue(&authority, &["127.0.0.1"], |_| {});
    let client = start(trusting(&authority));
    client.connect(1, "127.0.0.1", echo_server(server_config(&issued, None)));
    client.connected();
    let body = vec![9; 20_000_000];
    for _ in 0..2 {
        client.send(1, framed(&body));
    }
    assert!(client.frame() == body && client.frame() == body);
}

#[test]
fn certificates_that_prove_nothing_are_refused_with_advice() {
    let (ours, other) = (authority("ours"), authority("other"));
    let good = issue(&ours, &["127.0.0.1"], |_| {});
    let reason = refused(trusting(&other), echo_server(server_config(&good, None)));
    assert!(reason.contains("unknown issuer") && reason.contains("ssl.ca.location"), "{reason}");

    let elsewhere = issue(&ours, &["elsewhere.example"], |_| {});
    let reason = refused(trusting(&ours), echo_server(server_config(&elsewhere, None)));
    assert!(reason.contains("another host name"), "{reason}");
    assert!(reason.contains("ssl.endpoint.identification.algorithm"), "{reason}");

    let expired = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    };
    let old = issue(&ours, &["127.0.0.1"], expired);
    let reason = refused(trusting(&ours), echo_server(server_config(&old, None)));
    assert!(reason.contains("has expired"), "{reason}");

    let future = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(4000, 1, 1);
    };
    let early = issue(&ours, &["127.0.0.1"], future);
    let reason = refused(trusting(&ours), echo_server(server_config(&early, None)));
    assert!(reason.contains("not valid yet"), "{reason}");
}

#[test]
fn checks_can_be_switched_off_one_by_one() {
    let (ours, other) = (authority("ours"), authority("other"));
    let elsewhere = issue(&ours, &["elsewhere.example"], |_| {});
    // Without the name, the chain is still verified.
    let no_name = |authority| TlsSettings { verify_host: false, ..trusting(authority) };
    let client = start(no_name(&ours));
    client.connect(1, "127.0.0.1", echo_server(server_config(&elsewhere, None)));
    exchange(&client);
    let reason = refused(no_name(&other), echo_server(server_config(&elsewhere, None)));
    assert!(reason.contains("unknown issuer"), "{reason}");
    // Without verification, anyone will do.
    let client = start(TlsSettings { verify_certificate: false, ..trusting(&other) });
    client.connect(1, "127.0.0.1", echo_server(server_config(&elsewhere, None)));
    exchange(&client);
}

#[test]
fn a_client_certificate_is_shown_or_missed() {
    let (ours, clients) = (authority("ours"), authority("clients"));
    let broker = issue(&ours, &["127.0.0.1"], |_| {});
    let client_of = |issued: &Issued| TlsSettings {
        certificate: Some(Pem::Text(Secret::new(issued.certificate.pem()))),
        key: Some(Pem::Text(Secret::new(issued.key.serialize_pem()))),
        ..trusting(&ours)
    };
    let known = issue(&clients, &["client"], |_| {});
    let client = start(client_of(&known));
    client.connect(1, "127.0.0.1", echo_server(server_config(&broker, Some(&clients))));
    exchange(&client);

    // With TLS 1.3 the client is through before the broker has looked at its certificate.
    let last = |tls: TlsSettings| {
        let client = start(tls);
        client.connect(1, "127.0.0.1", echo_server(server_config(&broker, Some(&clients))));
        client.connected();
        client.closed()
    };
    let (reason, tls) = last(trusting(&ours));
    assert!(tls && reason.contains("requires a client certificate"), "{reason}");
    let (reason, tls) = last(client_of(&issue(&ours, &["client"], |_| {})));
    assert!(tls && reason.contains("refused the client's certificate"), "{reason}");
}

#[test]
fn tls_1_2_is_spoken_too() {
    let ours = authority("ours");
    let broker = issue(&ours, &["127.0.0.1"], |_| {});
    let config = |clients: Option<&CertifiedIssuer<'static, KeyPair>>| {
        server_config_of(&broker, clients, &[&rustls::version::TLS12])
    };
    let client = start(trusting(&ours));
    client.connect(1, "127.0.0.1", echo_server(config(None)));
    exchange(&client);
    // Here the client's certificate is missed within the handshake.
    let reason = refused(trusting(&ours), echo_server(config(Some(&ours))));
    assert!(reason.contains("client certificate"), "{reason}");
}

#[test]
fn a_server_without_tls_is_told_to_be_one() {
    let authority = authority("ours");
    let port = server(|mut socket| {
        let mut hello = [0; 5];
        socket.read_exact(&mut hello).unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let reason = refused(trusting(&authority), port);
    assert!(reason.contains("security.protocol"), "{reason}");

    // A Kafka listener without TLS finds the first bytes too large and closes.
    let port = server(drop);
    let client = start(trusting(&authority));
    client.connect(1, "127.0.0.1", port);
    let (_, tls) = client.closed();
    assert!(!tls, "the broker may just have been stopped");
}

/// Hands bytes on from the client to the server, and at most `limit` of them back.
fn cutting_proxy(server: u16, limit: usize) -> u16 {
    self::server(move |mut client| {
        let mut broker = TcpStream::connect(("127.0.0.1", server)).unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), broker.try_clone().unwrap());
        serve(move || drop(std::io::copy(&mut from, &mut to)));
        let mut start = (&mut broker).take(limit as u64);
        let _ = std::io::copy(&mut start, &mut client);
        let _ = client.shutdown(std::net::Shutdown::Both);
        let _ = broker.shutdown(std::net::Shutdown::Both);
    })
}

#[test]
fn a_record_that_is_cut_off_ends_the_connection_without_a_frame() {
    let authority = authority("ours");
    let issued = issue(&authority, &["127.0.0.1"], |_| {});
    // Each cuts at another place: within the handshake, within the record, between two records.
    let mut ends = (0, 0);
    for limit in [1, 4, 100, 700, 2000, 4000, 20_000, 40_000] {
        let port = cutting_proxy(echo_server(server_config(&issued, None)), limit);
        let client = start(trusting(&authority));
        client.connect(1, "127.0.0.1", port);
        let (reason, tls) = match client.input() {
            crate::network::Input::Connected { .. } => {
                ends.1 += 1;
                client.send(1, framed(&[1; 60_000]));
                client.closed()
            }
            crate::network::Input::Closed { reason, tls, .. } => {
                ends.0 += 1;
                (reason, tls)
            }
            input => panic!("{input:?}"),
        };
        assert!(!tls, "{limit}: {reason}");
    }
    assert!(ends.0 >= 3 && ends.1 >= 3, "{ends:?}");
}

#[test]
fn a_session_is_ended_by_close_notify() {
    let authority = authority("ours");
    let issued = issue(&authority, &["127.0.0.1"], |_| {});
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Arc::new(server_config(&issued, None));
    let server = serve(move || {
        let mut socket = listener.accept().unwrap().0;
        let mut session = rustls::ServerConnection::new(config).unwrap();
        // Without close_notify this would be an error.
        let read = rustls::Stream::new(&mut session, &mut socket).read(&mut [0; 10]).unwrap();
        assert_eq!(read, 0);
    });
    let client = start(trusting(&authority));
    client.connect(1, "127.0.0.1", port);
    client.connected();
    drop(client);
    server.join().unwrap();
}

fn problem(tls: &TlsSettings) -> SettingError {
    config(tls).unwrap_err()
}

#[test]
fn wrong_files_are_found_when_the_client_is_made() {
    let authority = authority("ours");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let with =
        |authorities| TlsSettings { authorities: Some(authorities), ..TlsSettings::default() };
    let cases = [
        (Pem::File(path("missing")), "ssl.ca.location", "cannot read"),
        (Pem::File(path("")), "ssl.ca.location", "no file of the folder"),
        (Pem::Text(Secret::new("hello")), "ssl.ca.pem", "has no certificate in PEM"),
        (Pem::Text(Secret::new("-----BEGIN CERTIFICATE-----\nAAAA\n")), "ssl.ca.pem", "is not PEM"),
        (
            Pem::Text(Secret::new(
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            )),
            "ssl.ca.pem",
            "has a certificate that cannot be read",
        ),
    ];
    for (authorities, name, expected) in cases {
        let error = problem(&with(authorities));
        assert_eq!(error.name, name);
        assert!(error.reason.contains(expected), "{error}");
    }
    let settings = ConnectionSettings {
        protocol: SecurityProtocol::SaslSsl,
        tls: with(Pem::File(path("missing"))),
        ..ConnectionSettings::default()
    };
    let machine = crate::driver::script::Script::default();
    let error = crate::driver::Driven::start(machine, &settings, "never").err().unwrap();
    let crate::Error::Setting(error) = crate::driver::start_error(error) else { panic!() };
    assert_eq!(error.name, "ssl.ca.location");

    std::fs::write(path("ca.pem"), authority.pem()).unwrap();
    std::fs::write(path("notes.txt"), "no certificate").unwrap();
    config(&with(Pem::File(path("ca.pem")))).unwrap();
    config(&with(Pem::File(path("")))).unwrap();
}

#[test]
fn keys_of_every_form_are_read_and_others_explained() {
    let authority = authority("ours");
    let issued = issue(&authority, &["client"], |_| {});
    let with_key = |certificate: &str, key: &str| TlsSettings {
        certificate: Some(Pem::Text(Secret::new(certificate))),
        key: Some(Pem::Text(Secret::new(key))),
        ..trusting(&authority)
    };
    let (certificate, key) = (issued.certificate.pem(), issued.key.serialize_pem());
    config(&with_key(&certificate, &key)).unwrap();
    // Certificate and key may be in one file.
    let both = format!("{certificate}{key}");
    config(&with_key(&both, &both)).unwrap();

    let other = issue(&authority, &["other"], |_| {}).key.serialize_pem();
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let cases = [
        (other.as_str(), "is not the key of the certificate"),
        (old, "openssl pkcs8 -topk8"),
        (&certificate, "has no private key"),
        (&key[..60], "is not PEM"),
    ];
    for (key, expected) in cases {
        let error = problem(&with_key(&certificate, key));
        assert_eq!(error.name, "ssl.key.pem");
        assert!(error.reason.contains(expected), "{error}");
        assert!(!error.reason.contains(key));
    }
}

/// A file beside this one.
fn file(name: &str) -> Pem {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/driver/tls/tests");
    Pem::File(folder.join(name).to_str().unwrap().to_owned())
}

/// Each was made by OpenSSL of `ec-plain.key` and the password "swordfish".
#[test]
fn encrypted_keys_of_openssl_are_opened_by_their_password() {
    let password = Secret::new("swordfish");
    let plain = key::private_key(&file("ec-plain.key"), Some(&password)).unwrap();
    for name in ["ec-aes.key", "ec-scrypt.key"] {
        let key = key::private_key(&file(name), Some(&password)).unwrap();
        assert_eq!(key.secret_der(), plain.secret_der(), "{name}");
    }
    let refused = |pem: &Pem, password: Option<&str>| {
        let password = password.map(Secret::new);
        let error = key::private_key(pem, password.as_ref()).unwrap_err();
        assert!(!error.to_string().contains("swordfish"), "{error}");
        (error.name, error.reason)
    };
    let (name, reason) = refused(&file("ec-aes.key"), Some("swordfisch"));
    assert!(name == "ssl.key.location" && reason.contains("check ssl.key.password"), "{reason}");
    assert_eq!(refused(&file("ec-aes.key"), None).0, "ssl.key.password");
    for name in ["ec-des3.key", "ec-old.key"] {
        let (_, reason) = refused(&file(name), Some("swordfish"));
        assert!(reason.contains("openssl pkcs8 -topk8"), "{name}: {reason}");
    }
    for (body, words) in [("AAAA", "method that is not known"), ("A", "is not PEM"), ("", "method")]
    {
        let text = format!(
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\n{body}\n-----END ENCRYPTED PRIVATE KEY-----\n"
        );
        let (_, reason) = refused(&Pem::Text(Secret::new(&text)), Some("swordfish"));
        assert!(reason.contains(words), "{reason}");
        let (_, reason) = refused(&Pem::Text(Secret::new(&text[..40])), Some("swordfish"));
        assert!(reason.contains("is not PEM"), "{reason}");
    }
}

#[test]
fn an_encrypted_key_is_shown_to_brokers() {
    let (ours, clients) = (authority("ours"), authority("clients"));
    let broker = issue(&ours, &["127.0.0.1"], |_| {});
    let Pem::File(plain) = file("ec-plain.key") else { panic!("a file") };
    let key = KeyPair::from_pem(&std::fs::read_to_string(plain).unwrap()).unwrap();
    let params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &clients).unwrap();
    let client = start(TlsSettings {
        certificate: Some(Pem::Text(Secret::new(certificate.pem()))),
        key: Some(file("ec-aes.key")),
        key_password: Some(Secret::new("swordfish")),
        ..trusting(&ours)
    });
    client.connect(1, "127.0.0.1", echo_server(server_config(&broker, Some(&clients))));
    exchange(&client);
}

/// A certificate that has signed itself and is marked as an authority's, as `openssl req -x509`
/// makes them.
fn self_signed(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Issued { certificate, key }
}

#[test]
fn a_certificate_that_is_itself_a_trusted_one_may_be_an_authoritys() {
    let trusting = |issued: &Issued, verify_host| TlsSettings {
        authorities: Some(Pem::Text(Secret::new(issued.certificate.pem()))),
        verify_host,
        ..TlsSettings::default()
    };
    let good = self_signed(&["127.0.0.1"], |_| {});
    let elsewhere = self_signed(&["elsewhere.example"], |_| {});
    let for_servers = self_signed(&["127.0.0.1"], |params| {
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    });
    for (shown, verify_host) in
        [(&good, true), (&good, false), (&elsewhere, false), (&for_servers, true)]
    {
        for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
            let client = start(trusting(shown, verify_host));
            let server = echo_server(server_config_of(shown, None, versions));
            client.connect(1, "127.0.0.1", server);
            exchange(&client);
        }
    }
    let not_taken = |shown: &Issued, trusted: &Issued, verify_host| {
        refused(trusting(trusted, verify_host), echo_server(server_config(shown, None)))
    };
    let reason = not_taken(&elsewhere, &elsewhere, true);
    assert!(reason.contains("another host name"), "{reason}");

    let expired = self_signed(&["127.0.0.1"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let early = self_signed(&["127.0.0.1"], |params| {
        params.not_before = rcgen::date_time_ymd(4000, 1, 1);
    });
    let not_for_servers = self_signed(&["127.0.0.1"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let of_few_names = self_signed(&["127.0.0.1"], |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("example".into())],
            excluded_subtrees: Vec::new(),
        });
    });
    for verify_host in [true, false] {
        for (shown, words) in [
            (&expired, "has expired"),
            (&early, "not valid yet"),
            (&not_for_servers, "CA:TRUE"),
            (&not_for_servers, "extendedKeyUsage without serverAuth"),
            (&of_few_names, "basicConstraints=CA:FALSE"),
        ] {
            let reason = not_taken(shown, shown, verify_host);
            assert!(reason.contains(words), "{reason}");
        }
        // The same name and key in other bytes.
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.serial_number = Some(7.into());
        let certificate = params.self_signed(&good.key).unwrap();
        let key = KeyPair::from_pem(&good.key.serialize_pem()).unwrap();
        let reason = not_taken(&Issued { certificate, key }, &good, verify_host);
        assert!(reason.contains("CA:TRUE") && reason.contains("ssl.ca.location"), "{reason}");
        // Whoever shows it must have its key.
        let key = rustls::crypto::ring::sign::any_supported_type(
            &PrivateKeyDer::try_from(elsewhere.key.serialize_der()).unwrap(),
        );
        let stolen = CertifiedKey::new(vec![good.certificate.der().clone()], key.unwrap());
        let server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(stolen)));
        let reason = refused(trusting(&good, verify_host), echo_server(server));
        assert!(reason.contains("BadSignature") || reason.contains("signature"), "{reason}");
    }
}

#[test]
fn keys_of_openssl_are_read() {
    // Made by OpenSSL, in the forms that it has written over the years.
    for form in ["pkcs1", "pkcs8", "sec1"] {
        let kind = if form == "sec1" { "ec" } else { "rsa" };
        let settings = TlsSettings {
            certificate: Some(file(&format!("{kind}.pem"))),
            key: Some(file(&format!("{form}.key"))),
            authorities: Some(file(&format!("{kind}.pem"))),
            ..TlsSettings::default()
        };
        config(&settings).unwrap_or_else(|error| panic!("{form}: {error}"));
    }
}
