//! The users file: who may log in with which password, or with what checks one.
//!
//! A password is gone when the file has been read. For SCRAM there is a verifier with a fresh
//! salt; for PLAIN a code under a key that is as old as the process, so that a log-in costs one
//! hash and not thousands: the password was sent to us in the clear anyway.

use std::collections::HashMap;

use ring::hmac;

use super::scram::{Hash, ITERATIONS_MIN, Verifier};
use crate::random::Random;

const SALT_BYTES: usize = 16;

/// The users of a file.
#[derive(Default)]
pub(crate) struct Users {
    verifiers: HashMap<(String, Hash), Verifier>,
    passwords: HashMap<String, hmac::Tag>,
    key: Option<hmac::Key>,
}

impl Users {
    /// Reads the text of a users file.
    ///
    /// # Errors
    /// The number of the line and what is wrong with it, never what stands there.
    pub(crate) fn parse(text: &str, random: &mut dyn Random) -> Result<Self, String> {
        let mut key = [0; 32];
        random.secret(&mut key);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let mut users = Self { key: Some(key), ..Self::default() };
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            users.add(line, random).map_err(|wrong| format!("line {}: {wrong}", at + 1))?;
        }
        if users.verifiers.is_empty() {
            return Err("there is no user in it".to_owned());
        }
        Ok(users)
    }

    fn add(&mut self, line: &str, random: &mut dyn Random) -> Result<(), String> {
        let (name, value) = line.split_once(':').ok_or("`name:password` is wanted")?;
        if name.is_empty() {
            return Err("the name is empty".to_owned());
        }
        for hash in Hash::ALL {
            let inner = value
                .strip_prefix(hash.mechanism())
                .and_then(|rest| rest.strip_prefix("=["))
                .and_then(|rest| rest.trim_end().strip_suffix(']'));
            if let Some(inner) = inner {
                let verifier = Verifier::parse(hash, inner)?;
                return self.insert(name, verifier);
            }
        }
        if value.is_empty() {
            return Err("the password is empty".to_owned());
        }
        for hash in Hash::ALL {
            let mut salt = [0; SALT_BYTES];
            random.secret(&mut salt);
            self.insert(name, Verifier::of_password(hash, value, &salt, ITERATIONS_MIN))?;
        }
        if let Some(key) = &self.key {
            self.passwords.insert(name.to_owned(), hmac::sign(key, value.as_bytes()));
        }
        Ok(())
    }

    fn insert(&mut self, name: &str, verifier: Verifier) -> Result<(), String> {
        match self.verifiers.insert((name.to_owned(), verifier.hash()), verifier) {
            Some(_) => Err("the user has been named before".to_owned()),
            None => Ok(()),
        }
    }

    /// Whether that is the password of the user. It takes as long for a user that is unknown.
    pub(crate) fn has_password(&self, name: &str, password: &[u8]) -> bool {
        let Some(key) = &self.key else { return false };
        match self.passwords.get(name) {
            Some(tag) => hmac::verify(key, password, tag.as_ref()).is_ok(),
            None => {
                let _ = hmac::verify(key, password, &[0; 32]);
                false
            }
        }
    }

    /// A user's verifier.
    pub(crate) fn verifier(&self, name: &str, hash: Hash) -> Option<&Verifier> {
        self.verifiers.get(&(name.to_owned(), hash))
    }

    /// All verifiers with their users, in no order.
    pub(crate) fn verifiers(&self) -> impl Iterator<Item = (&str, &Verifier)> {
        self.verifiers.iter().map(|((name, _), verifier)| (name.as_str(), verifier))
    }

    /// A salt for somebody who is not known: always the same for a name and a mechanism, as that
    /// of a user is.
    pub(crate) fn salt_for_nobody(&self, name: &str, hash: Hash) -> Vec<u8> {
        let message = format!("{}:{name}", hash.mechanism());
        let tag = self.key.as_ref().map(|key| hmac::sign(key, message.as_bytes()));
        tag.map_or_else(Vec::new, |tag| tag.as_ref()[..SALT_BYTES].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    fn parse(text: &str) -> Result<Users, String> {
        Users::parse(text, &mut SystemRandom::default())
    }

    #[test]
    fn passwords_and_verifiers() {
        let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
        let users = parse(&format!(
            "# users\n\nann:secret: with colon \r\nbob:SCRAM-SHA-256=[salt=AA==,stored_key={key},server_key={key},iterations=4096]\n"
        ))
        .unwrap();
        assert!(users.has_password("ann", b"secret: with colon "));
        for (name, password) in [("ann", "secret"), ("ann", ""), ("eve", "secret"), ("bob", "")] {
            assert!(!users.has_password(name, password.as_bytes()), "{name} {password}");
        }
        assert!(Hash::ALL.iter().all(|hash| users.verifier("ann", *hash).is_some()));
        assert!(users.verifier("bob", Hash::Sha256).is_some());
        assert!(users.verifier("bob", Hash::Sha512).is_none());
        let salt = |name, hash| users.salt_for_nobody(name, hash);
        assert_eq!(salt("eve", Hash::Sha256), salt("eve", Hash::Sha256));
        assert_ne!(salt("eve", Hash::Sha256), salt("eva", Hash::Sha256));
        assert_ne!(salt("eve", Hash::Sha256), salt("eve", Hash::Sha512));
    }

    #[test]
    fn errors_name_the_line_and_keep_the_secret() {
        for (text, expected) in [
            ("", "no user"),
            ("# nobody\n", "no user"),
            ("hunter2", "line 1"),
            ("ann:a\n\n:hunter2", "line 3"),
            ("ann:", "line 1: the password is empty"),
            ("ann:hunter2\nann:hunter2", "line 2"),
            ("ann:SCRAM-SHA-256=[salt=hunter2]", "line 1"),
        ] {
            let error = parse(text).err().expect("it is refused");
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
