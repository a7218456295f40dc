//! Reads the files that were named at the start and checks that they are enough.

use std::path::Path;
use std::sync::Arc;

use millstream_types::Clock;

use super::keys::Keys;
use super::sasl::Mechanism;
use super::scram::Hash;
use super::{Listener, Secrets, SecurityConfig, Tokens, Users, tls};
use crate::error::BrokerError;
use crate::random::Random;
use crate::settings::Settings;

/// The setting that limits the mechanisms, and Kafka's default, which is not served here and so
/// stands for "those that there are users or keys for".
const MECHANISMS: (&str, &str) = ("sasl.enabled.mechanisms", "GSSAPI");

/// Reads all of it.
///
/// # Errors
/// [`BrokerError::Security`], which says what to do.
pub(crate) fn load(
    config: &SecurityConfig,
    listeners: &[Listener],
    settings: &Settings,
    clock: Arc<dyn Clock>,
    random: &mut dyn Random,
) -> Result<Secrets, BrokerError> {
    let secrets = read_all(config, listeners, settings, clock, random);
    secrets.map_err(BrokerError::Security)
}

fn read_all(
    config: &SecurityConfig,
    listeners: &[Listener],
    settings: &Settings,
    clock: Arc<dyn Clock>,
    random: &mut dyn Random,
) -> Result<Secrets, String> {
    let mut secrets = Secrets::default();
    for user in &config.super_users {
        if !user.split_once(':').is_some_and(|(kind, name)| kind == "User" && !name.is_empty()) {
            return Err(format!(
                "the super user `{user}` is no principal; write --super-user User:NAME"
            ));
        }
    }
    if let Some(files) = &config.tls {
        warn_if_public(&files.key, "the private key");
        let read = read("--tls-cert, --tls-key and --tls-client-ca");
        secrets.tls = Some(tls::configure(files, read, &clock)?);
    }
    if let Some(path) = &config.users {
        warn_if_public(path, "the users file");
        let bytes = read("--users")(path)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| format!("the users file {} is not UTF-8", path.display()))?;
        secrets.users = Users::parse(&text, random).map_err(|wrong| {
            format!("the users file {} cannot be used: {wrong}", path.display())
        })?;
    }
    secrets.tokens = match (&config.oauth_keys, config.oauth_unsecured) {
        (None, false) => None,
        (None, true) => {
            tracing::warn!("tokens that nobody has signed are taken: everybody can be anybody");
            Some(Tokens::unsecured())
        }
        (Some(_), true) => {
            let text = "tokens are either checked by keys or not at all: \
                        leave out --oauth-keys or --oauth-unsecured-for-tests";
            return Err(text.to_owned());
        }
        (Some(path), false) => {
            let keys = Keys::parse(&read("--oauth-keys")(path)?)
                .map_err(|wrong| format!("the keys {} cannot be used: {wrong}", path.display()))?;
            Some(Tokens::signed(keys, settings))
        }
    };
    secrets.mechanisms = mechanisms(config, settings)?;
    for listener in listeners {
        if listener.protocol.has_tls() && secrets.tls.is_none() {
            return Err(format!(
                "the listener {}://{} needs a certificate: give --tls-cert FILE and --tls-key FILE, both PEM",
                listener.protocol, listener.address
            ));
        }
        if listener.protocol.has_sasl() && secrets.mechanisms.is_empty() {
            return Err(format!(
                "nobody could log in at {}://{}: give --users FILE with one `name:password` a line, \
                 or --oauth-keys FILE",
                listener.protocol, listener.address
            ));
        }
    }
    Ok(secrets)
}

/// Mechanisms that clients are offered: those that something was given for, and that the setting
/// does not leave out.
fn mechanisms(config: &SecurityConfig, settings: &Settings) -> Result<Vec<Mechanism>, String> {
    let mut possible = Vec::new();
    if config.users.is_some() {
        possible.extend([
            Mechanism::Plain,
            Mechanism::Scram(Hash::Sha256),
            Mechanism::Scram(Hash::Sha512),
        ]);
    }
    if config.oauth_keys.is_some() || config.oauth_unsecured {
        possible.push(Mechanism::OauthBearer);
    }
    let (name, default) = MECHANISMS;
    let wanted = settings.text(name).unwrap_or(default);
    if wanted == default {
        return Ok(possible);
    }
    let known = Mechanism::ALL.map(Mechanism::name);
    let mut chosen = Vec::new();
    for wanted in wanted.split(',').map(str::trim) {
        if !known.contains(&wanted) {
            return Err(format!(
                "{name}: `{wanted}` is not served; there are {}",
                known.join(", ")
            ));
        }
        let found = possible.iter().find(|mechanism| mechanism.name() == wanted);
        chosen.push(*found.ok_or_else(|| {
            let option = if wanted == "OAUTHBEARER" { "--oauth-keys" } else { "--users" };
            format!("{name}: {wanted} needs {option} FILE")
        })?);
    }
    Ok(chosen)
}

fn read(option: &'static str) -> impl Fn(&Path) -> Result<Vec<u8>, String> {
    move |path| {
        std::fs::read(path)
            .map_err(|error| format!("cannot read {}: {error}; see {option}", path.display()))
    }
}

/// A secret that others on the machine can read is said so, and used: containers mount them so.
fn warn_if_public(path: &Path, what: &str) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(metadata) = std::fs::metadata(path) else { return };
    if metadata.permissions().mode() & 0o077 != 0 {
        let path = path.display();
        tracing::warn!("{what} {path} can be read by other users: chmod 600 {path}");
    }
}

#[cfg(test)]
mod tests;
