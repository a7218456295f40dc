//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677, KIP-84): the password never leaves the
//! client, and the broker proves that it knows it as well.
//!
//! Names and passwords go in as the UTF-8 they are. SASLprep is not applied, because Kafka's
//! brokers do not apply it when they store a credential.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};
use zeroize::Zeroizing;

use super::{Authenticator, Exchange, Nonces, NotYet, printable};
use crate::settings::Secret;
use crate::time::Now;

/// Below it a password is too quick to guess (RFC 7677); Kafka stores none below it.
const ITERATIONS_MIN: u32 = 4096;
/// Kafka's own limit is 16,384 (KIP-554). Each iteration costs the client time.
const ITERATIONS_MAX: u32 = 131_072;
/// Without channel binding.
const HEADER: &str = "n,,";

struct Algorithms {
    mechanism: &'static str,
    pbkdf2: pbkdf2::Algorithm,
    hmac: hmac::Algorithm,
    digest: &'static digest::Algorithm,
}

static SHA256: Algorithms = Algorithms {
    mechanism: "SCRAM-SHA-256",
    pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256,
    hmac: hmac::HMAC_SHA256,
    digest: &digest::SHA256,
};
static SHA512: Algorithms = Algorithms {
    mechanism: "SCRAM-SHA-512",
    pbkdf2: pbkdf2::PBKDF2_HMAC_SHA512,
    hmac: hmac::HMAC_SHA512,
    digest: &digest::SHA512,
};

/// The password after all iterations, and what it was salted by. Every broker has the same salt
/// for a user, so that one derivation does for all connections.
struct Salted {
    salt: Vec<u8>,
    iterations: u32,
    password: Zeroizing<Vec<u8>>,
}

/// Name and password, and where nonces come from.
pub(super) struct Scram {
    algorithms: &'static Algorithms,
    username: String,
    password: Secret,
    nonces: Nonces,
    salted: Arc<Mutex<Option<Salted>>>,
}

impl Scram {
    pub(super) fn new(sha512: bool, username: &str, password: &Secret, nonces: Nonces) -> Self {
        Self {
            algorithms: if sha512 { &SHA512 } else { &SHA256 },
            // "=" and "," mean something in the messages.
            username: username.replace('=', "=3D").replace(',', "=2C"),
            password: password.clone(),
            nonces,
            salted: Arc::default(),
        }
    }
}

impl Authenticator for Scram {
    fn mechanism(&self) -> &'static str {
        self.algorithms.mechanism
    }

    fn begin(&mut self, _now: Now) -> Result<Box<dyn Exchange>, NotYet> {
        if self.username.is_empty() || self.password.expose().is_empty() {
            return Err(NotYet::Refused("sasl.username or sasl.password is empty".into()));
        }
        let mut nonce = [0; 24];
        (self.nonces)(&mut nonce).map_err(NotYet::Refused)?;
        Ok(Box::new(ScramExchange {
            algorithms: self.algorithms,
            first: format!("n={},r={}", self.username, BASE64.encode(nonce)),
            nonce: BASE64.encode(nonce),
            password: self.password.clone(),
            salted: self.salted.clone(),
            expects: Expects::First,
        }))
    }
}

enum Expects {
    First,
    Final { server_key: hmac::Key, message: String },
    Nothing,
}

struct ScramExchange {
    algorithms: &'static Algorithms,
    /// The client's first message without its header.
    first: String,
    nonce: String,
    password: Secret,
    salted: Arc<Mutex<Option<Salted>>>,
    expects: Expects,
}

impl Exchange for ScramExchange {
    fn start(&mut self) -> Result<Vec<u8>, String> {
        Ok(format!("{HEADER}{}", self.first).into_bytes())
    }

    fn step(&mut self, challenge: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let challenge = str::from_utf8(challenge).map_err(|_| malformed("not UTF-8"))?;
        if let Some(reason) = challenge.strip_prefix("e=") {
            return Err(format!(
                "{}: the broker refused: {}",
                self.algorithms.mechanism,
                printable(reason)
            ));
        }
        match std::mem::replace(&mut self.expects, Expects::Nothing) {
            Expects::First => self.answer(challenge).map(Some),
            Expects::Final { server_key, message } => {
                let signature = challenge
                    .split(',')
                    .next()
                    .and_then(|part| part.strip_prefix("v="))
                    .and_then(|part| BASE64.decode(part).ok())
                    .ok_or_else(|| malformed("no server signature"))?;
                // In constant time.
                hmac::verify(&server_key, message.as_bytes(), &signature).map_err(|_| {
                    "SCRAM: the broker could not prove that it knows the password; it may not be who it says it is".to_owned()
                })?;
                Ok(None)
            }
            Expects::Nothing => Err(malformed("a message after the last one")),
        }
    }
}

impl ScramExchange {
    /// Answers the server's first message with the proof.
    fn answer(&mut self, challenge: &str) -> Result<Vec<u8>, String> {
        let mut parts = challenge.split(',');
        let mut part = |name: &str| {
            parts.next().and_then(|part| part.strip_prefix(name)).ok_or_else(|| {
                // A mandatory extension ("m=") stands first and ends up here too.
                malformed(&format!("{name} expected"))
            })
        };
        let nonce = part("r=")?;
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(malformed("the nonce does not continue the client's"));
        }
        let salt = BASE64.decode(part("s=")?).map_err(|_| malformed("the salt is not base64"))?;
        if salt.is_empty() {
            return Err(malformed("the salt is empty"));
        }
        let iterations = part("i=")?
            .parse()
            .ok()
            .filter(|iterations| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(iterations))
            .ok_or_else(|| {
                malformed(&format!(
                    "the number of iterations is not within {ITERATIONS_MIN} and {ITERATIONS_MAX}"
                ))
            })?;
        let salted = self.salted(salt, iterations);
        let key = |name: &str| {
            let tag = hmac::sign(&hmac::Key::new(self.algorithms.hmac, &salted), name.as_bytes());
            Zeroizing::new(tag.as_ref().to_vec())
        };
        let client_key = key("Client Key");
        let stored_key = digest::digest(self.algorithms.digest, &client_key);
        let without_proof = format!("c={},r={nonce}", BASE64.encode(HEADER));
        let message = format!("{},{challenge},{without_proof}", self.first);
        let stored = hmac::Key::new(self.algorithms.hmac, stored_key.as_ref());
        let signature = hmac::sign(&stored, message.as_bytes());
        let proof: Vec<u8> =
            client_key.iter().zip(signature.as_ref()).map(|(key, signed)| key ^ signed).collect();
        let server_key = hmac::Key::new(self.algorithms.hmac, &key("Server Key"));
        self.expects = Expects::Final { server_key, message };
        Ok(format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes())
    }

    fn salted(&self, salt: Vec<u8>, iterations: u32) -> Zeroizing<Vec<u8>> {
        let mut known = self.salted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known
            && known.salt == salt
            && known.iterations == iterations
        {
            return known.password.clone();
        }
        let mut password = Zeroizing::new(vec![0; self.algorithms.digest.output_len()]);
        let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        let plain = self.password.expose().as_bytes();
        pbkdf2::derive(self.algorithms.pbkdf2, rounds, &salt, plain, &mut password);
        *known = Some(Salted { salt, iterations, password: password.clone() });
        password
    }
}

fn malformed(what: &str) -> String {
    format!("SCRAM: the broker sent a message that cannot be: {what}")
}

#[cfg(test)]
mod tests;
