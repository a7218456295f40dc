//! Settings by librdkafka's names as our client's; tokens as our client's.

use millstream_client::OAuthToken as OwnToken;
use millstream_client::settings::{
    self as own, ConnectionSettings, ConsumerSettings, ProducerSettings, Secret, SettingError,
};

use crate::{Error, OAuthToken, Properties};

pub(super) fn of_admin(properties: &Properties) -> Result<ConnectionSettings, Error> {
    read(own::admin(properties.iter())).map(|(connection, ())| connection)
}

pub(super) fn of_consumer(
    properties: &Properties,
) -> Result<(ConnectionSettings, ConsumerSettings), Error> {
    read(own::consumer(of_users(properties)))
}

pub(super) fn of_producer(
    properties: &Properties,
) -> Result<(ConnectionSettings, ProducerSettings), Error> {
    read(own::producer(of_users(properties)))
}

/// The settings without those that `config` adds for librdkafka's sake alone: a warning that they do
/// nothing would be about nothing that a user wrote.
fn of_users(properties: &Properties) -> impl Iterator<Item = (&str, &str)> {
    let for_librdkafka = ["fetch.queue.backoff.ms", "delivery.report.only.error"];
    properties.iter().filter(move |(name, _)| !for_librdkafka.contains(name))
}

fn read<T>(done: Result<own::Read<T>, SettingError>) -> Result<(ConnectionSettings, T), Error> {
    let read = done.map_err(|error| Error::Config {
        name: error.name.clone(),
        reason: error.reason.clone(),
    })?;
    for warning in &read.warnings {
        tracing::warn!(target: "millstream::kafka", "{warning}");
    }
    if read.connection.bootstrap.is_empty() {
        let (name, reason) = ("bootstrap.servers".into(), "is missing".into());
        return Err(Error::Config { name, reason });
    }
    Ok((read.connection, read.own))
}

/// What token sources are given.
pub(super) fn token_config(properties: &Properties) -> String {
    properties.get("sasl.oauthbearer.config").unwrap_or_default().to_owned()
}

pub(super) fn token<'a>(token: Result<&OAuthToken, &'a str>) -> Result<OwnToken, &'a str> {
    token.map(|token| OwnToken {
        token: Secret::new(token.token.clone()),
        expires_at_ms: token.expires_at_ms,
        principal: token.principal.clone(),
        extensions: token.extensions.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_and_no_value_of_a_secret_is_shown() {
        let good = [("bootstrap.servers", "a:1"), ("security.protocol", "PLAINTEXT")];
        assert!(of_admin(&good.into()).is_ok());
        for (name, value) in [("sasl.pasword", "hidden"), ("security.protocol", "tls")] {
            let mut properties: Properties = good.into();
            properties.set(name, value);
            let error = of_admin(&properties).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains("hidden"), "{error}");
        }
        assert!(of_admin(&Properties::new()).is_err());
    }
}
