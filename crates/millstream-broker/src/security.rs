//! Who is who: TLS, SASL, and what the broker knows of users. All of it is off until asked for.
//!
//! ```text
//! protocol     PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL, and a listener with one of them
//! config load  what was asked for; files read and checked at the start
//! tls name der certificates to a TLS configuration, a certificate's subject to a principal
//! users        the users file
//! scram        salted verifiers and both steps of the exchange
//! plain oauth  the other mechanisms; jwt and keys check tokens
//! sasl         the order of a connection's requests until it is known who is there
//! ```
//!
//! *Invariants:* a password is not kept, only what checks it; secrets are compared in constant
//! time; no secret is in an error, a log line or a debug format.

mod config;
mod der;
mod jwt;
mod keys;
mod load;
mod name;
mod oauth;
mod plain;
mod protocol;
pub(crate) mod sasl;
pub(crate) mod scram;
pub(crate) mod tls;
mod users;

use std::collections::BTreeMap;
use std::io;

use crate::acl::{Authorizer, Rule, decode_rule, encode_rule};
use crate::journal::{Change, Journal};
use scram::{Hash, Verifier};

pub use config::{SecurityConfig, TlsFiles};
pub(crate) use jwt::Tokens;
pub(crate) use load::load;
pub use protocol::{Listener, SecurityProtocol};
pub(crate) use users::Users;

/// Who somebody is that was not asked.
pub(crate) const ANONYMOUS: &str = "User:ANONYMOUS";

const RULE_KEY: u8 = b'a';
const SCRAM_KEY: u8 = b's';

/// What was read from the files that were named at the start.
#[derive(Default)]
pub(crate) struct Secrets {
    pub(crate) users: Users,
    pub(crate) tokens: Option<Tokens>,
    pub(crate) mechanisms: Vec<sasl::Mechanism>,
    pub(crate) tls: Option<tls::Tls>,
}

/// What the broker knows of users and their rights.
pub(crate) struct Security {
    /// Rules and changed credentials; none if security is not used.
    journal: Option<Journal>,
    /// Nobody is asked for rights without it.
    pub(crate) authorizer: Option<Authorizer>,
    super_users: Vec<String>,
    pub(crate) secrets: Secrets,
    /// Credentials that were set while running; they win over the users file.
    changed: BTreeMap<(String, Hash), Verifier>,
}

impl Security {
    /// Opens what was stored; `journal` is none if security is not used.
    ///
    /// # Errors
    /// An entry that cannot be read: to go on without a rule might open what was closed.
    pub(crate) fn open(config: &SecurityConfig, journal: Option<Journal>) -> io::Result<Self> {
        let mut authorizer = config.acl.then(|| Authorizer::new(config.super_users.clone()));
        let mut changed = BTreeMap::new();
        let damaged = || io::Error::other("the security journal has an entry that is none");
        if let Some(journal) = &journal {
            for (key, _) in journal.scan(&[RULE_KEY]) {
                let rule = decode_rule(&key[1..]).ok_or_else(damaged)?;
                if let Some(authorizer) = &mut authorizer {
                    authorizer.add(rule);
                }
            }
            for (key, value) in journal.scan(&[SCRAM_KEY]) {
                let (hash, name) = key[1..].split_first().ok_or_else(damaged)?;
                let hash = Hash::from_code(*hash as i8).ok_or_else(damaged)?;
                let name = String::from_utf8(name.to_vec()).map_err(|_| damaged())?;
                let verifier = Verifier::decode(hash, value).ok_or_else(damaged)?;
                changed.insert((name, hash), verifier);
            }
        }
        let super_users = config.super_users.clone();
        Ok(Self { journal, authorizer, super_users, secrets: Secrets::default(), changed })
    }

    /// Whether there is a place to keep changes.
    pub(crate) fn can_keep(&self) -> bool {
        self.journal.is_some()
    }

    /// Whether that principal was named a super user at the start.
    pub(crate) fn is_super_user(&self, principal: &str) -> bool {
        self.super_users.iter().any(|user| user == principal)
    }

    /// The verifier of a user, if he has one for that hash.
    pub(crate) fn verifier(&self, name: &str, hash: Hash) -> Option<&Verifier> {
        let changed = self.changed.get(&(name.to_owned(), hash));
        changed.or_else(|| self.secrets.users.verifier(name, hash))
    }

    /// Whether a credential was set while running, so that it can be deleted.
    pub(crate) fn was_changed(&self, name: &str, hash: Hash) -> bool {
        self.changed.contains_key(&(name.to_owned(), hash))
    }

    /// Every user with the hashes and iterations of his verifiers, in order.
    pub(crate) fn scram_users(&self) -> BTreeMap<&str, Vec<(Hash, u32)>> {
        let mut found: BTreeMap<&str, BTreeMap<Hash, u32>> = BTreeMap::new();
        for (name, verifier) in self.secrets.users.verifiers() {
            found.entry(name).or_default().insert(verifier.hash(), verifier.iterations());
        }
        for ((name, hash), verifier) in &self.changed {
            found.entry(name).or_default().insert(*hash, verifier.iterations());
        }
        found.into_iter().map(|(name, hashes)| (name, hashes.into_iter().collect())).collect()
    }

    /// Sets (`Some`) and deletes credentials, durably, all or none.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn change_credentials(
        &mut self,
        changes: Vec<(String, Hash, Option<Verifier>)>,
    ) -> io::Result<()> {
        let entry = |(name, hash, verifier): &(String, Hash, Option<Verifier>)| -> Change {
            let key = [&[SCRAM_KEY, *hash as u8], name.as_bytes()].concat();
            (key, verifier.as_ref().map(Verifier::encode))
        };
        self.commit(changes.iter().map(entry).collect())?;
        for (name, hash, verifier) in changes {
            match verifier {
                Some(verifier) => self.changed.insert((name, hash), verifier),
                None => self.changed.remove(&(name, hash)),
            };
        }
        Ok(())
    }

    /// Adds rules, durably, all or none.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn add_rules(&mut self, rules: Vec<Rule>) -> io::Result<()> {
        let Some(authorizer) = &self.authorizer else { return Ok(()) };
        let new = rules.iter().filter(|rule| !authorizer.contains(rule));
        self.commit(new.map(|rule| (rule_key(rule), Some(Vec::new()))).collect())?;
        if let Some(authorizer) = &mut self.authorizer {
            rules.into_iter().for_each(|rule| authorizer.add(rule));
        }
        Ok(())
    }

    /// Takes rules away, durably, all or none.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn remove_rules(&mut self, rules: &[Rule]) -> io::Result<()> {
        if rules.is_empty() {
            return Ok(());
        }
        self.commit(rules.iter().map(|rule| (rule_key(rule), None)).collect())?;
        if let Some(authorizer) = &mut self.authorizer {
            rules.iter().for_each(|rule| authorizer.remove(rule));
        }
        Ok(())
    }

    /// Waits until all of it is on the medium.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn make_durable(&mut self) -> io::Result<()> {
        self.journal.as_mut().map_or(Ok(()), Journal::sync)
    }

    fn commit(&mut self, changes: Vec<Change>) -> io::Result<()> {
        let none = || io::Error::other("security is not in use");
        self.journal.as_mut().ok_or_else(none)?.commit(changes)
    }
}

fn rule_key(rule: &Rule) -> Vec<u8> {
    [&[RULE_KEY], &encode_rule(rule)[..]].concat()
}
