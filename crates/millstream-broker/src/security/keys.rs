//! Keys that sign tokens: a JWKS (RFC 7517), or public keys in PEM.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use super::der::{BIT_STRING, Der, OID, SEQUENCE};

const RSA_OID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const EC_OID: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256_OID: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
/// In front of the two numbers of a point that is not compressed.
const UNCOMPRESSED: u8 = 4;
const P256_POINT_BYTES: usize = 65;

/// Public keys.
pub(crate) struct Keys(Vec<Key>);

struct Key {
    id: Option<String>,
    kind: Kind,
}

enum Kind {
    /// Modulus and exponent.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// PKCS 1, as PEM files have it.
    RsaDer(Vec<u8>),
    P256(Vec<u8>),
}

impl Keys {
    /// Reads a JWKS, or PEM.
    ///
    /// # Errors
    /// A text for the user.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
        let keys = match text.trim_start().starts_with('{') {
            true => parse_jwks(text)?,
            false => parse_pem(bytes)?,
        };
        if keys.is_empty() {
            let wanted = "there is no key in it for RS256 or ES256: a JWKS or public keys in PEM \
                          (BEGIN PUBLIC KEY) are wanted";
            return Err(wanted.to_owned());
        }
        Ok(Self(keys))
    }

    /// Whether one of the keys (the one of that id, if the token names one) has signed that.
    ///
    /// # Errors
    /// What is wrong, for the log.
    pub(super) fn verify(
        &self,
        algorithm: &str,
        id: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), String> {
        if !matches!(algorithm, "RS256" | "ES256") {
            return Err("the token is signed neither by RS256 nor by ES256".to_owned());
        }
        // A key without an id, as PEM has none, may be any.
        let fits = |key: &&Key| id.is_none() || key.id.is_none() || key.id.as_deref() == id;
        let good = self.0.iter().filter(fits).any(|key| key.verify(algorithm, message, signature));
        if good { Ok(()) } else { Err("no known key has signed the token".to_owned()) }
    }
}

impl Key {
    fn verify(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        let outcome = match (&self.kind, algorithm) {
            (Kind::Rsa { n, e }, "RS256") => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
            (Kind::RsaDer(key), "RS256") => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(message, signature)
            }
            (Kind::P256(point), "ES256") => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            _ => return false,
        };
        outcome.is_ok()
    }
}

/// Keys of other kinds and uses are left out: a JWKS may have them.
fn parse_jwks(text: &str) -> Result<Vec<Key>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    let list = value.get("keys").and_then(Value::as_array).ok_or("a JWKS has a list `keys`")?;
    let mut keys = Vec::new();
    for (at, key) in list.iter().enumerate() {
        let field = |name: &str| key.get(name).and_then(Value::as_str);
        if field("use").is_some_and(|purpose| purpose != "sig") {
            continue;
        }
        let bytes = |name: &str| {
            let decoded = field(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
            decoded.ok_or_else(|| format!("key {at}: `{name}` is missing or not base 64"))
        };
        let kind = match (field("kty"), field("crv")) {
            (Some("RSA"), _) => {
                let without_zeros = |bytes: Vec<u8>| {
                    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                    bytes[zeros..].to_vec()
                };
                Kind::Rsa { n: without_zeros(bytes("n")?), e: without_zeros(bytes("e")?) }
            }
            (Some("EC"), Some("P-256")) => {
                let point = [&[UNCOMPRESSED], &bytes("x")?[..], &bytes("y")?[..]].concat();
                if point.len() != P256_POINT_BYTES {
                    return Err(format!("key {at}: no point of P-256"));
                }
                Kind::P256(point)
            }
            _ => continue,
        };
        keys.push(Key { id: field("kid").map(str::to_owned), kind });
    }
    Ok(keys)
}

fn parse_pem(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    for info in SubjectPublicKeyInfoDer::pem_slice_iter(bytes) {
        let info = info.map_err(|error| format!("no PEM: {error}"))?;
        if let Some(kind) = of_info(&info) {
            keys.push(Key { id: None, kind });
        }
    }
    Ok(keys)
}

/// A key of a SubjectPublicKeyInfo, if it is of a kind that is served.
fn of_info(info: &[u8]) -> Option<Kind> {
    let mut fields = Der(Der(info).expect(SEQUENCE)?);
    let mut algorithm = Der(fields.expect(SEQUENCE)?);
    let oid = algorithm.expect(OID)?;
    // In front of the key stands the number of bits that do not count, which is 0.
    let key = fields.expect(BIT_STRING)?.strip_prefix(&[0])?.to_vec();
    match oid {
        RSA_OID => Some(Kind::RsaDer(key)),
        EC_OID if algorithm.expect(OID)? == P256_OID => {
            (key.len() == P256_POINT_BYTES && key[0] == UNCOMPRESSED).then_some(Kind::P256(key))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
