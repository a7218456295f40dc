//! Settings by librdkafka's names as our client's.

use millstream_client::settings::ConnectionSettings;

use crate::{Error, Properties};

/// The settings of an admin client: addresses and `client.id`, without TLS and SASL. Everything
/// else is refused, because a setting that does nothing is worse than one that is missing. This is
/// the place where the full table of settings comes in.
pub(super) fn of_admin(properties: &Properties) -> Result<ConnectionSettings, Error> {
    let mut settings = ConnectionSettings::default();
    for (name, value) in properties.iter() {
        let refused = |reason: &str| Error::Config { name: name.to_owned(), reason: reason.into() };
        match name {
            "bootstrap.servers" => {
                settings.bootstrap = addresses(value)
                    .ok_or_else(|| refused("must be a list such as broker-1:9092,broker-2:9092"))?;
            }
            "client.id" => value.clone_into(&mut settings.client_id),
            "security.protocol" if value.eq_ignore_ascii_case("plaintext") => {}
            _ => return Err(refused("our own admin client does not know it")),
        }
    }
    if settings.bootstrap.is_empty() {
        let (name, reason) = ("bootstrap.servers".into(), "is missing".into());
        return Err(Error::Config { name, reason });
    }
    Ok(settings)
}

/// Names or addresses with ports; the default port is Kafka's, 9092.
fn addresses(list: &str) -> Option<Vec<(String, u16)>> {
    let one = |entry: &str| {
        let entry = entry.trim();
        // An IPv6 address stands in brackets.
        let (host, port) = match entry.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                (host, rest.strip_prefix(':'))
            }
            None => match entry.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (entry, None),
            },
        };
        let port = port.map_or(Some(9092), |port| port.parse().ok())?;
        (!host.is_empty() && !host.contains('/')).then(|| (host.to_owned(), port))
    };
    list.split(',').map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_names_with_ports() {
        let read = addresses("a:1, [::1]:2 ,c").unwrap();
        assert_eq!(read, [("a".into(), 1), ("::1".into(), 2), ("c".into(), 9092)]);
        for bad in ["", "a:", "a:b", ":1", "a:70000", "[::1", "PLAINTEXT://a:1", "a,,b"] {
            assert_eq!(addresses(bad), None, "{bad}");
        }
    }

    /// A setting that would do nothing is refused, and no value is shown.
    #[test]
    fn what_is_not_honoured_is_refused() {
        let good = [("bootstrap.servers", "a:1"), ("security.protocol", "PLAINTEXT")];
        assert!(of_admin(&good.into()).is_ok());
        for (name, value) in [("sasl.password", "hidden"), ("security.protocol", "ssl")] {
            let mut properties: Properties = good.into();
            properties.set(name, value);
            let error = of_admin(&properties).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains("hidden"), "{error}");
        }
        assert!(of_admin(&Properties::new()).is_err());
    }
}
