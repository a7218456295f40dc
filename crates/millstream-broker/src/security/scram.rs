//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677, KIP-84): what is kept of a password, and
//! the broker's half of the exchange.
//!
//! Unlike Kafka's broker, this one answers the first message of an unknown user like that of a
//! known one, with a salt that is always the same for the name, and fails at the second: who asks
//! learns no names.

mod exchange;

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

use crate::journal::{Fields, put_bytes};
pub(super) use exchange::ScramExchange;

/// Iterations for passwords of the users file, and the fewest that are taken; Kafka's.
pub(crate) const ITERATIONS_MIN: u32 = 4096;
/// The most iterations that are taken; Kafka's.
pub(crate) const ITERATIONS_MAX: u32 = 16384;
/// Longest salt that is taken, in bytes: it goes out in each exchange.
pub(crate) const SALT_MAX: usize = 1024;

/// The hash function of a mechanism; the numbers are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub(crate) enum Hash {
    Sha256 = 1,
    Sha512 = 2,
}

impl Hash {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The one with that number in the protocol.
    pub(crate) fn from_code(code: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| *known as i8 == code)
    }

    /// The name of its mechanism.
    pub(crate) fn mechanism(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// Bytes of its digests.
    pub(crate) fn len(self) -> usize {
        self.digest_algorithm().output_len()
    }

    fn digest_algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        digest::digest(self.digest_algorithm(), bytes).as_ref().to_vec()
    }

    fn hmac(self, key: &[u8], bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), bytes).as_ref().to_vec()
    }

    fn salted(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let iterations = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        let mut out = vec![0; self.len()];
        pbkdf2::derive(algorithm, iterations, salt, password, &mut out);
        out
    }
}

/// What checks a password without being one. It does not let its owner log in as the user, but
/// lets him guess passwords, and pose as the broker.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Verifier {
    hash: Hash,
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl Verifier {
    /// Of a password.
    pub(crate) fn of_password(hash: Hash, password: &str, salt: &[u8], iterations: u32) -> Self {
        let salted = hash.salted(password.as_bytes(), salt, iterations);
        Self::of_salted(hash, &salted, salt, iterations)
    }

    /// Of a password that a client has salted, as AlterUserScramCredentials brings it.
    pub(crate) fn of_salted(hash: Hash, salted: &[u8], salt: &[u8], iterations: u32) -> Self {
        let client_key = hash.hmac(salted, b"Client Key");
        Self {
            hash,
            iterations,
            salt: salt.to_vec(),
            stored_key: hash.digest(&client_key),
            server_key: hash.hmac(salted, b"Server Key"),
        }
    }

    /// Reads Kafka's text form, `salt=..,stored_key=..,server_key=..,iterations=..`.
    ///
    /// # Errors
    /// What is wrong, without saying what stands there.
    pub(super) fn parse(hash: Hash, text: &str) -> Result<Self, &'static str> {
        let (mut salt, mut stored_key, mut server_key, mut iterations) = (None, None, None, None);
        let decode = |value: &str| STANDARD.decode(value).map_err(|_| "a value is not base 64");
        for field in text.split(',') {
            let (name, value) = field.trim().split_once('=').ok_or("a field has no `=`")?;
            match name {
                "salt" => salt = Some(decode(value)?),
                "stored_key" => stored_key = Some(decode(value)?),
                "server_key" => server_key = Some(decode(value)?),
                "iterations" => {
                    iterations = Some(value.parse().map_err(|_| "`iterations` is no number")?);
                }
                _ => return Err("fields are salt, stored_key, server_key and iterations"),
            }
        }
        let verifier = Self {
            hash,
            iterations: iterations.ok_or("`iterations` is missing")?,
            salt: salt.ok_or("`salt` is missing")?,
            stored_key: stored_key.ok_or("`stored_key` is missing")?,
            server_key: server_key.ok_or("`server_key` is missing")?,
        };
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&verifier.iterations) {
            return Err("`iterations` must be from 4096 to 16384");
        }
        verifier.check_lengths().then_some(verifier).ok_or("a key has not the length of its hash")
    }

    /// The form in the *security* journal.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![1];
        out.extend_from_slice(&self.iterations.to_be_bytes());
        for part in [&self.salt, &self.stored_key, &self.server_key] {
            put_bytes(&mut out, part);
        }
        out
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` if it is not that.
    pub(super) fn decode(hash: Hash, bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        if fields.fixed()? != [1] {
            return None;
        }
        let verifier = Self {
            hash,
            iterations: u32::from_be_bytes(fields.fixed()?),
            salt: fields.bytes()?.to_vec(),
            stored_key: fields.bytes()?.to_vec(),
            server_key: fields.bytes()?.to_vec(),
        };
        (fields.0.is_empty() && verifier.check_lengths()).then_some(verifier)
    }

    fn check_lengths(&self) -> bool {
        self.stored_key.len() == self.hash.len()
            && self.server_key.len() == self.hash.len()
            && (1..=SALT_MAX).contains(&self.salt.len())
    }

    /// Which hash it is for.
    pub(crate) fn hash(&self) -> Hash {
        self.hash
    }

    /// How often the password was hashed.
    pub(crate) fn iterations(&self) -> u32 {
        self.iterations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677.
    #[test]
    fn the_rfcs_verifier() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::of_password(Hash::Sha256, "pencil", &salt, 4096);
        let stored = STANDARD.encode(&verifier.stored_key);
        assert_eq!(stored, "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=");
        let server = STANDARD.encode(&verifier.server_key);
        assert_eq!(server, "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
        let text = format!(
            "salt={},stored_key={stored},server_key={server},iterations=4096",
            STANDARD.encode(&salt)
        );
        assert_eq!(Verifier::parse(Hash::Sha256, &text), Ok(verifier.clone()));
        assert!(Verifier::parse(Hash::Sha512, &text).is_err());
        let bytes = verifier.encode();
        assert_eq!(Verifier::decode(Hash::Sha256, &bytes), Some(verifier.clone()));
        for end in 0..bytes.len() {
            assert_eq!(Verifier::decode(Hash::Sha256, &bytes[..end]), None, "{end}");
        }
        assert_eq!(format!("{verifier:?}"), "Verifier { hash: Sha256, .. }");
    }

    #[test]
    fn text_that_is_no_verifier() {
        for wrong in ["", "salt", "salt=!,stored_key=,server_key=,iterations=4096", "pepper=AA=="] {
            assert!(Verifier::parse(Hash::Sha256, wrong).is_err(), "{wrong}");
        }
        let key = STANDARD.encode([1; 32]);
        let with = |iterations: &str| {
            let text =
                format!("salt=AA==,stored_key={key},server_key={key},iterations={iterations}");
            Verifier::parse(Hash::Sha256, &text)
        };
        assert!(with("4096").is_ok() && with("16384").is_ok());
        for wrong in ["4095", "16385", "-1", "many"] {
            assert!(with(wrong).is_err(), "{wrong}");
        }
    }
}
