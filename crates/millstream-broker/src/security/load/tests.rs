use std::net::SocketAddr;
use std::path::PathBuf;

use millstream_types::ManualClock;

use super::*;
use crate::random::SystemRandom;
use crate::security::{SecurityProtocol, TlsFiles};
use crate::settings::Values;

fn load_with(
    config: &SecurityConfig,
    protocol: SecurityProtocol,
    given: &[(&str, &str)],
) -> Result<Secrets, String> {
    let given: Values = given.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let listener = Listener::new(protocol, SocketAddr::from(([127, 0, 0, 1], 9092)));
    let settings = Settings::new(&given).unwrap();
    let clock = Arc::new(ManualClock::new(0));
    load(config, &[listener], &settings, clock, &mut SystemRandom::default())
        .map_err(|error| error.to_string())
}

fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn names(secrets: &Secrets) -> Vec<&'static str> {
    secrets.mechanisms.iter().map(|mechanism| mechanism.name()).collect()
}

#[test]
fn mechanisms_are_those_that_something_was_given_for() {
    let dir = tempfile::tempdir().unwrap();
    let users = SecurityConfig {
        users: Some(file(&dir, "users", "ann:secret\n")),
        ..SecurityConfig::default()
    };
    let both = SecurityConfig { oauth_unsecured: true, ..users.clone() };
    let sasl = SecurityProtocol::SaslPlaintext;
    let all = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];
    assert_eq!(names(&load_with(&users, sasl, &[]).unwrap()), all[..3]);
    assert_eq!(names(&load_with(&both, sasl, &[]).unwrap()), all);
    let setting = "sasl.enabled.mechanisms";
    let some = load_with(&both, sasl, &[(setting, "OAUTHBEARER, SCRAM-SHA-512")]).unwrap();
    assert_eq!(names(&some), ["OAUTHBEARER", "SCRAM-SHA-512"]);
    for (config, wanted, expected) in
        [(&users, "OAUTHBEARER", "--oauth-keys"), (&users, "KERBEROS", "PLAIN, SCRAM-SHA-256")]
    {
        let error = load_with(config, sasl, &[(setting, wanted)]).err().unwrap();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn what_is_missing_or_wrong_is_said_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| file(&dir, name, text);
    let garbage = path("garbage", "garbage");
    let absent = dir.path().join("absent");
    let none = SecurityConfig::default;
    let tls = |certificate: &PathBuf, key: &PathBuf| SecurityConfig {
        tls: Some(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            client_ca: None,
            client_required: false,
        }),
        ..none()
    };
    let cut = path("cut", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let some = path("some", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let encrypted = path(
        "encrypted",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let users = path("users", "ann:hunter2\nhunter3\n");
    let keys = path("keys", "{}");
    use SecurityProtocol::{Plaintext, SaslPlaintext, SaslSsl, Ssl};
    for (config, protocol, expected) in [
        (none(), Ssl, "--tls-cert FILE and --tls-key FILE"),
        (none(), SaslSsl, "--tls-cert FILE and --tls-key FILE"),
        (none(), SaslPlaintext, "--users FILE"),
        (tls(&absent, &garbage), Ssl, "cannot read"),
        (tls(&garbage, &garbage), Ssl, "no certificate in"),
        (tls(&cut, &garbage), Ssl, "no PEM"),
        (tls(&some, &garbage), Ssl, "no private key in"),
        (tls(&some, &encrypted), Ssl, "openssl pkey"),
        (SecurityConfig { users: Some(absent.clone()), ..none() }, Plaintext, "see --users"),
        (SecurityConfig { users: Some(users), ..none() }, Plaintext, "line 2"),
        (SecurityConfig { oauth_keys: Some(keys.clone()), ..none() }, Plaintext, "`keys`"),
        (
            SecurityConfig { oauth_keys: Some(keys), oauth_unsecured: true, ..none() },
            Plaintext,
            "--oauth-unsecured-for-tests",
        ),
        (
            SecurityConfig { super_users: vec!["ann".into()], ..none() },
            Plaintext,
            "--super-user User:NAME",
        ),
    ] {
        let error = load_with(&config, protocol, &[]).err().expect("it is refused");
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("hunter"), "{error}");
    }
}
