use base64::engine::general_purpose::STANDARD;

use super::*;

// Made by openssl for this test; the private halves are gone. The signature is that of the text
// below, by RS256.
const RSA_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAw4ZlkaP81mNEPsUO8a9N
eHooS3M6Zk+VgPUK1c5ulbMELRY65LxsO4PVNgBnkrS2h6IurcLTJzvijcCmnXEs
mvVH/vFjnLboS6vSQkekVw78ZId+xj4Gq8VmA+IolFV1PeQoizeQGxmYgKLaNkb4
BR5Ff2dqBQpfmMTUoc/PzkUhiTfQrVQrPicgpV/OSYjJlsqrXp25lU/sehdVEeVw
DL06k4sGuIyZkQvwEycWCWhFmVPDdkcvE71V0nGJrVbPU9iTn4PziD456+Fts3cN
kPj4TdpeAbaguum+IsKsu/NCDlBnOszSJeGhwL10pwdGyctFzkZ95ohjIUnvYsKJ
VwIDAQAB
-----END PUBLIC KEY-----
";
const RSA_MODULUS: &str = "\
w4ZlkaP81mNEPsUO8a9NeHooS3M6Zk-VgPUK1c5ulbMELRY65LxsO4PVNgBnkrS2h6IurcLTJzvijcCmnXEsmvVH_v\
FjnLboS6vSQkekVw78ZId-xj4Gq8VmA-IolFV1PeQoizeQGxmYgKLaNkb4BR5Ff2dqBQpfmMTUoc_PzkUhiTfQrVQr\
PicgpV_OSYjJlsqrXp25lU_sehdVEeVwDL06k4sGuIyZkQvwEycWCWhFmVPDdkcvE71V0nGJrVbPU9iTn4PziD456-\
Fts3cNkPj4TdpeAbaguum-IsKsu_NCDlBnOszSJeGhwL10pwdGyctFzkZ95ohjIUnvYsKJVw";
const RSA_SIGNATURE: &str = "\
FTHkGrxjzrzGGXYOuBWuzSrJZ/8ZURiGZKcsilZZHgWXd+KRNasGFwyG7MFDolt5xz84XO1NW72SGmuQbyVsMMXEHD\
YAy/B4qmIFBdRfLCwD9V2zbSa+J0izu5bFkeWPcbMdTzun0MeZgxHWDuJY1ZnjauhO97mjNHsWchdP5lDK0YOphW1L\
8O+DmLAOX8K2dVxMtDSQEpqLieVcPoxFj15qrtqbaNG1TND23kuO1a3bKzlky5BZOlIDSCo3v29JZwU/Qn7psWaR37\
662Na/WPJGmUUEvRU+5G5MyViYqMj9yd6mob8STiottsPvKgZfBl1tAMY4v/a4Y0ybFHWyUg==";
const EC_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE3TqM/59pGc3RiDf1jjrQJZAeheF+
psfXp9Vkismhp1yBB7iF/htnhJibexH+9sxOw5aeC/PGMo3xMiGe9npk/g==
-----END PUBLIC KEY-----
";
const ED25519_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAb93V5oGkEwVBHhjy8xM9OL9czxVzN4+HUiT4pkFNTdU=
-----END PUBLIC KEY-----
";
const TEXT: &[u8] = b"signed text";

fn verify(keys: &Keys, algorithm: &str, id: Option<&str>) -> Result<(), String> {
    keys.verify(algorithm, id, TEXT, &STANDARD.decode(RSA_SIGNATURE).unwrap())
}

#[test]
fn rsa_keys_of_both_forms() {
    let jwks = format!(
        r#"{{"keys":[{{"kty":"oct","k":"AA"}},{{"kty":"RSA","kid":"a","n":"{RSA_MODULUS}","e":"AQAB"}}]}}"#
    );
    for text in [jwks.clone(), RSA_PEM.to_owned(), format!("{EC_PEM}{RSA_PEM}")] {
        let keys = Keys::parse(text.as_bytes()).unwrap();
        assert_eq!(verify(&keys, "RS256", None), Ok(()));
        assert_eq!(verify(&keys, "RS256", Some("a")), Ok(()));
        for algorithm in ["ES256", "HS256", "none", ""] {
            assert!(verify(&keys, algorithm, None).is_err(), "{algorithm}");
        }
        let signature = STANDARD.decode(RSA_SIGNATURE).unwrap();
        assert!(keys.verify("RS256", None, b"other text", &signature).is_err());
        assert!(keys.verify("RS256", None, TEXT, &signature[1..]).is_err());
    }
    let keys = Keys::parse(jwks.as_bytes()).unwrap();
    assert!(verify(&keys, "RS256", Some("b")).is_err());
}

#[test]
fn files_that_are_none() {
    for (text, expected) in [
        ("", "there is no key"),
        ("garbage", "there is no key"),
        (ED25519_PEM, "there is no key"),
        ("{", "no JSON"),
        ("{}", "list `keys`"),
        (r#"{"keys":[]}"#, "there is no key"),
        (r#"{"keys":[{"kty":"RSA","n":"!","e":"AQAB"}]}"#, "key 0: `n`"),
        (r#"{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}"#, "key 0: no point"),
        (r#"{"keys":[{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}]}"#, "there is no key"),
        (r#"{"keys":[{"kty":"RSA","use":"enc","n":"AA","e":"AQAB"}]}"#, "there is no key"),
        ("-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----\n", "there is no key"),
        ("-----BEGIN PUBLIC KEY-----\nAA\n", "no PEM"),
    ] {
        let error = Keys::parse(text.as_bytes()).err().expect("it is refused");
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert!(Keys::parse(&[0xff]).is_err());
}
