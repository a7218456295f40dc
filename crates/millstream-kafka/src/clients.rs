//! Which client stands behind the traits.

use crate::{
    Admin, ClientConfig, ClientFactory, Consumer, ConsumerConfig, Error, Native, Producer,
    Properties, ReportingProducer,
};

/// The setting by which a program chooses its client: `millstream` or `librdkafka`.
pub const CLIENT: &str = "millstream.client";

/// The variable that chooses where the setting does not.
const VARIABLE: &str = "MILLSTREAM_CLIENT";

/// Makes the clients that the setting `millstream.client` names; without it those that the
/// environment variable `MILLSTREAM_CLIENT` names; without that [`Clients::DEFAULT`].
///
/// ```
/// use millstream_kafka::{ClientConfig, ClientFactory, Clients, Properties};
/// let settings = [("bootstrap.servers", "127.0.0.1:9092"), ("millstream.client", "mine")];
/// let refused = Clients.producer(&ClientConfig::new(settings.into())).err().unwrap();
/// assert!(refused.to_string().contains("millstream or librdkafka"));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Clients;

impl Clients {
    /// The client without a choice.
    pub const DEFAULT: &'static str = "millstream";

    /// librdkafka's version, such as `2.12.1`; `None` in a build without it.
    pub fn librdkafka_version() -> Option<String> {
        #[cfg(feature = "librdkafka")]
        return Some(crate::Librdkafka::version());
        #[cfg(not(feature = "librdkafka"))]
        return None;
    }

    fn choose(properties: &Properties) -> Result<(&'static dyn ClientFactory, Properties), Error> {
        let variable = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty());
        let mut rest = properties.clone();
        let setting = rest.remove(CLIENT);
        let name = setting.as_deref().or(variable.as_deref()).unwrap_or(Self::DEFAULT);
        let clients: &dyn ClientFactory = match name {
            "millstream" => &Native,
            #[cfg(feature = "librdkafka")]
            "librdkafka" => &crate::Librdkafka,
            #[cfg(not(feature = "librdkafka"))]
            "librdkafka" => {
                let reason = "this build has no librdkafka; for one that has, set \
                              MILLSTREAM_LIBRDKAFKA=1 for `pip install .`, say `make build \
                              LIBRDKAFKA=1`, or give cargo the feature `librdkafka`";
                return Err(Error::Config { name: CLIENT.into(), reason: reason.into() });
            }
            other => {
                let reason = format!("must be millstream or librdkafka, not {other:?}");
                return Err(Error::Config { name: CLIENT.into(), reason });
            }
        };
        Ok((clients, rest))
    }

    fn of(config: &ClientConfig) -> Result<(&'static dyn ClientFactory, ClientConfig), Error> {
        let (clients, properties) = Self::choose(&config.properties)?;
        Ok((clients, ClientConfig { properties, token_source: config.token_source.clone() }))
    }
}

impl ClientFactory for Clients {
    fn consumer(&self, config: &ConsumerConfig) -> Result<Box<dyn Consumer>, Error> {
        let (clients, client) = Self::of(&config.client)?;
        clients.consumer(&ConsumerConfig { client, ..config.clone() })
    }

    fn producer(&self, config: &ClientConfig) -> Result<Box<dyn Producer>, Error> {
        let (clients, client) = Self::of(config)?;
        clients.producer(&client)
    }

    fn reporting_producer(
        &self,
        config: &ClientConfig,
    ) -> Result<Box<dyn ReportingProducer>, Error> {
        let (clients, client) = Self::of(config)?;
        clients.reporting_producer(&client)
    }

    fn admin(&self, config: &ClientConfig) -> Result<Box<dyn Admin>, Error> {
        let (clients, client) = Self::of(config)?;
        clients.admin(&client)
    }
}

#[cfg(all(test, not(feature = "librdkafka")))]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_was_not_built_in_says_how_to_get_it() {
        let settings = [("bootstrap.servers", "127.0.0.1:1"), (CLIENT, "librdkafka")];
        let config = ClientConfig::new(settings.into());
        for refused in [
            Clients.admin(&config).err(),
            Clients.producer(&config).err(),
            Clients.reporting_producer(&config).err(),
        ] {
            let said = refused.expect("a refusal").to_string();
            for way in ["millstream.client", "MILLSTREAM_LIBRDKAFKA=1", "make build LIBRDKAFKA=1"] {
                assert!(said.contains(way), "{said}");
            }
        }
        assert_eq!(Clients::librdkafka_version(), None);
    }
}
