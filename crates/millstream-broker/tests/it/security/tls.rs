use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::certificates::Authority;
use super::*;
use millstream_broker::TlsFiles;

const VALID: (&str, &str) = ("20200101000000Z", "20990101000000Z");
const EXPIRED: (&str, &str) = ("20200101000000Z", "20200102000000Z");

/// An SSL listener whose certificate `broker` the authority has signed.
fn with_tls(authority: &Authority, dir: &Path, client_ca: Option<PathBuf>) -> BrokerConfig {
    let tls = TlsFiles {
        certificate: authority.certificate("broker"),
        key: authority.key("broker"),
        client_required: client_ca.is_some(),
        client_ca,
    };
    let security = SecurityConfig { tls: Some(tls), ..SecurityConfig::default() };
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    BrokerConfig::new(dir.join("data"))
        .and_listen(SecurityProtocol::Ssl, loopback)
        .security(security)
}

/// A connection that trusts the authority, with the certificate of that name, if any.
fn connect(
    address: SocketAddr,
    authority: &Authority,
    trusted: &str,
    own: Option<&str>,
) -> StreamOwned<ClientConnection, std::net::TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.certificate(trusted)).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = vec![CertificateDer::from_pem_file(authority.certificate(own)).unwrap()];
            let key = PrivateKeyDer::from_pem_file(authority.key(own)).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    StreamOwned::new(connection, stream)
}

/// Asks for the versions; the answer's bytes, or why there are none.
fn ask(stream: &mut (impl Read + Write)) -> std::io::Result<Vec<u8>> {
    stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff])?;
    stream.flush()?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

#[test]
fn certificates_of_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path(), "ca");
    let other = Authority::new(dir.path(), "other");
    ca.sign("broker", "/CN=localhost", VALID);
    ca.sign("client", "/O=Example/CN=ann", VALID);
    ca.sign("old", "/CN=ann", EXPIRED);
    other.sign("foreign", "/CN=ann", VALID);
    let broker = start(with_tls(&ca, dir.path(), Some(ca.certificate("ca"))));
    let address = broker.addresses()[1];
    assert!(ask(&mut connect(address, &ca, "ca", Some("client"))).is_ok());
    for (own, expected) in
        [(None, "CertificateRequired"), (Some("old"), "Expired"), (Some("foreign"), "")]
    {
        let error = ask(&mut connect(address, &ca, "ca", own)).unwrap_err().to_string();
        assert!(error.contains(expected), "{own:?}: {error}");
    }
    let error = ask(&mut connect(address, &ca, "other", Some("client"))).unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    // The others are still served.
    assert!(ask(&mut connect(address, &ca, "ca", Some("client"))).is_ok());
}

#[test]
fn what_is_read_from_the_file_for_tls_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path(), "ca");
    ca.sign("broker", "/CN=localhost", VALID);
    let broker = start(with_tls(&ca, dir.path(), None));
    let stream = connect(broker.addresses()[1], &ca, "ca", None);
    crate::client::write_and_read_much(&mut Client::over(stream), "t");
}

#[test]
fn a_broker_whose_certificate_has_expired_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path(), "ca");
    ca.sign("broker", "/CN=localhost", EXPIRED);
    let broker = start(with_tls(&ca, dir.path(), None));
    let error = ask(&mut connect(broker.addresses()[1], &ca, "ca", None)).unwrap_err();
    assert!(error.to_string().contains("xpired"), "{error}");
}

#[test]
fn a_handshake_that_does_not_end_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path(), "ca");
    ca.sign("broker", "/CN=localhost", VALID);
    let config = with_tls(&ca, dir.path(), None).setting("connections.max.idle.ms", "300");
    let broker = start(config);
    let address = broker.addresses()[1];
    // Nothing at all; a record that states a length and stops; what is no TLS.
    for sent in [&[][..], &[0x16, 3, 1, 2, 0, 1], b"GET / HTTP/1.1\r\n\r\n", &[0, 0, 0, 10, 0, 18]]
    {
        let mut client = Client::connect(address);
        client.stream.write_all(sent).unwrap();
        let mut rest = Vec::new();
        let ended = client.stream.read_to_end(&mut rest);
        // At most an alert comes back.
        assert!(rest.len() < 20, "{sent:?}: {ended:?} {rest:?}");
        assert!(
            !matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
            "{sent:?}"
        );
    }
    assert!(ask(&mut connect(address, &ca, "ca", None)).is_ok());
}

#[test]
fn a_key_of_another_certificate_is_noticed_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path(), "ca");
    ca.sign("broker", "/CN=localhost", VALID);
    ca.sign("client", "/CN=ann", VALID);
    let mut config = with_tls(&ca, dir.path(), None);
    config.security.tls.as_mut().unwrap().key = ca.key("client");
    let error = BrokerHandle::start(config, Arc::new(SystemClock)).unwrap_err();
    assert!(error.to_string().contains("does not belong to the certificate"), "{error}");
}

#[test]
fn rights_by_certificate_and_by_password_inside_tls() {
    use kafka_protocol::messages::create_topics_request::CreatableTopic;
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path(), "ca");
    ca.sign("broker", "/CN=localhost", VALID);
    ca.sign("client", "/O=Example/CN=ann", VALID);
    let mut config = with_tls(&ca, dir.path(), Some(ca.certificate("ca")));
    config.security.acl = true;
    config.security.users = Some(users(dir.path()));
    config.security.super_users = vec!["User:CN=ann,O=Example".into(), "User:bob".into()];
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let broker = start(config.and_listen(SecurityProtocol::SaslSsl, loopback));
    let [plain, ssl, sasl] = *broker.addresses() else { panic!("three listeners") };
    let request = |name: &str| {
        let topic = CreatableTopic::default()
            .with_name(crate::client::topic(name))
            .with_num_partitions(1)
            .with_replication_factor(1);
        CreateTopicsRequest::default().with_topics(vec![topic])
    };
    let mut client = Client::connect(plain);
    assert_eq!(client.ask(7, &request("a")).topics[0].error_code, 29);
    let mut client = Client::over(connect(ssl, &ca, "ca", Some("client")));
    assert_eq!(client.ask(7, &request("a")).topics[0].error_code, 0);
    for (message, expected) in [(&b"\0ann\0secret"[..], 29), (b"\0bob\0other", 0)] {
        // Nobody asks for a certificate there.
        let mut client = Client::over(connect(sasl, &ca, "ca", None));
        client.ask(1, &handshake("PLAIN"));
        assert_eq!(client.ask(2, &token(message)).error_code, 0);
        assert_eq!(client.ask(7, &request("b")).topics[0].error_code, expected);
    }
}
