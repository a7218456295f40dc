//! The key of the client's certificate.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pkcs8::{EncryptedPrivateKeyInfoRef, pkcs5};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{read, setting_of};
use crate::settings::{Pem, Secret, SettingError};

const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";

/// Reads the key, and decrypts it where it is encrypted.
///
/// # Errors
/// The setting, if the key or its password is not what it should be.
pub(super) fn private_key(
    pem: &Pem,
    password: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, SettingError> {
    let bad = |reason: &str| SettingError::new(setting_of(pem, "ssl.key"), reason);
    let not_pem = || bad("is not PEM: a section is cut off or has no base64 in it");
    let bytes = read(pem, "ssl.key")?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(bad(
            "is encrypted in a way that only OpenSSL has; make PKCS#8 of it (openssl pkcs8 -topk8 -in FILE -out NEW-FILE), which ssl.key.password opens",
        ));
    }
    if let Some((_, rest)) = text.split_once(BEGIN) {
        let (body, _) = rest.split_once(END).ok_or_else(not_pem)?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = STANDARD.decode(body).map_err(|_| not_pem())?;
        let password = password.ok_or_else(|| {
            SettingError::new("ssl.key.password", "is not given, and the key is encrypted")
        })?;
        return decrypted(&der, password).map_err(|reason| bad(&reason));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        PemError::NoItemsFound => {
            bad("has no private key in PEM (PKCS#8, PKCS#1 or SEC1: -----BEGIN PRIVATE KEY-----)")
        }
        _ => not_pem(),
    })
}

/// The key in `der`, an EncryptedPrivateKeyInfo of PKCS#8.
fn decrypted(der: &[u8], password: &Secret) -> Result<PrivateKeyDer<'static>, String> {
    let unknown = || {
        "is encrypted by a method that is not known here; encrypt it anew (openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out NEW-FILE)".to_owned()
    };
    let info = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| unknown())?;
    let key = info.decrypt(password.expose()).map_err(|error| match error {
        // What a wrong password makes of a key is no DER.
        pkcs8::Error::EncryptedPrivateKey(pkcs5::Error::DecryptFailed) | pkcs8::Error::Asn1(_) => {
            "cannot be decrypted; check ssl.key.password".to_owned()
        }
        _ => unknown(),
    })?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}
