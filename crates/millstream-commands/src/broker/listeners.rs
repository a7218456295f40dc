//! Where the broker listens, from the command line.

use std::net::{SocketAddr, ToSocketAddrs};

use millstream_broker::{Listener, SecurityConfig, SecurityProtocol};

use crate::CommandError;

/// One `--listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listen {
    protocol: SecurityProtocol,
    address: SocketAddr,
}

/// One `--advertise`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advertise {
    protocol: Option<SecurityProtocol>,
    host: String,
    port: u16,
}

/// A name, such as `localhost`, is looked up; of its addresses one of IPv4 is taken if there is one,
/// because that is what clients try.
pub(super) fn listen(text: &str) -> Result<Listen, String> {
    let (protocol, text) = split(text)?;
    let found = text.to_socket_addrs().map_err(|error| format!("HOST:PORT is wanted: {error}"))?;
    let addresses: Vec<SocketAddr> = found.collect();
    let chosen = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    let address = *chosen.ok_or("that name has no address")?;
    Ok(Listen { protocol: protocol.unwrap_or_default(), address })
}

pub(super) fn advertise(text: &str) -> Result<Advertise, String> {
    let (protocol, text) = split(text)?;
    let wanted = "HOST:PORT is wanted";
    let (host, port) = text.rsplit_once(':').ok_or(wanted)?;
    let port = port.parse().map_err(|_| wanted)?;
    // Clients want an IPv6 address without its brackets.
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(address) => address.to_owned(),
        None if host.is_empty() || host.contains(':') => return Err(wanted.to_owned()),
        None => host.to_owned(),
    };
    Ok(Advertise { protocol, host, port })
}

fn split(text: &str) -> Result<(Option<SecurityProtocol>, &str), String> {
    match text.split_once("://") {
        None => Ok((None, text)),
        Some((protocol, rest)) => Ok((Some(protocol.parse()?), rest)),
    }
}

/// Puts both together.
pub(super) fn listeners(
    listen: Vec<Listen>,
    advertise: Vec<Advertise>,
) -> Result<Vec<Listener>, CommandError> {
    let mut listeners: Vec<Listener> =
        listen.into_iter().map(|asked| Listener::new(asked.protocol, asked.address)).collect();
    for told in advertise {
        let Advertise { protocol, host, port } = told;
        let wanted = match (protocol, &listeners[..]) {
            (Some(protocol), _) => protocol,
            (None, [only]) => only.protocol,
            (None, _) => {
                return Err(CommandError::new(
                    format!("it is not clear for which listener clients are told {host}:{port}"),
                    format!("Say so: --advertise SASL_SSL://{host}:{port}"),
                ));
            }
        };
        let Some(listener) = listeners.iter_mut().find(|known| known.protocol == wanted) else {
            return Err(CommandError::new(
                format!(
                    "there is no listener {wanted} for which clients could be told {host}:{port}"
                ),
                format!("Add one: --listen {wanted}://HOST:PORT"),
            ));
        };
        if listener.advertised.replace((host, port)).is_some() {
            return Err(CommandError::new(
                format!("clients of {wanted} are told two addresses"),
                "Give --advertise once for each listener.",
            ));
        }
    }
    Ok(listeners)
}

/// What the owner of a broker should know before it is open to others.
pub(super) fn warnings(listeners: &[Listener], security: &SecurityConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    let asks_for_certificates =
        security.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some() && tls.client_required);
    for listener in listeners.iter().filter(|listener| !listener.address.ip().is_loopback()) {
        let address = listener.address;
        match listener.protocol {
            SecurityProtocol::Plaintext => warnings.push(format!(
                "{address} is reachable from the network, and the broker asks nobody for a password"
            )),
            SecurityProtocol::Ssl if !asks_for_certificates => warnings.push(format!(
                "{address} is reachable from the network, and clients need no certificate; see --tls-client-ca"
            )),
            SecurityProtocol::SaslPlaintext => warnings.push(format!(
                "{address} is reachable from the network, and what is sent there, passwords of PLAIN \
                 included, can be read on the way; see SASL_SSL"
            )),
            SecurityProtocol::Ssl | SecurityProtocol::SaslSsl => {}
        }
    }
    if security.acl && security.super_users.is_empty() {
        warnings.push(
            "with --acl and no --super-user nobody can do anything until rights from an earlier \
             run say otherwise"
                .to_owned(),
        );
    }
    warnings
}

/// Where a broker listens, for its first line. A PLAINTEXT listener is an address as every client
/// takes it.
pub(super) fn shown(listeners: &[Listener], addresses: &[SocketAddr]) -> String {
    let show = |(listener, address): (&Listener, &SocketAddr)| match listener.protocol {
        SecurityProtocol::Plaintext => address.to_string(),
        protocol => format!("{protocol}://{address}"),
    };
    listeners.iter().zip(addresses).map(show).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use millstream_broker::TlsFiles;

    use super::*;

    fn at(protocol: SecurityProtocol, port: u16) -> Listen {
        Listen { protocol, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    #[test]
    fn addresses() {
        assert_eq!(listen("127.0.0.1:1"), Ok(at(SecurityProtocol::Plaintext, 1)));
        assert_eq!(listen("SASL_SSL://127.0.0.1:1"), Ok(at(SecurityProtocol::SaslSsl, 1)));
        assert_eq!(listen("ssl://127.0.0.1:1"), Ok(at(SecurityProtocol::Ssl, 1)));
        assert!(listen("localhost:9092").is_ok_and(|asked| asked.address.ip().is_loopback()));
        assert!(listen("9092").is_err_and(|error| error.contains("HOST:PORT")));
        assert!(listen("TLS://127.0.0.1:1").is_err_and(|error| error.contains("SASL_PLAINTEXT")));
        let told = |text: &str| advertise(text).map(|told| (told.host, told.port));
        assert_eq!(told("kafka.example:9092"), Ok(("kafka.example".into(), 9092)));
        assert_eq!(told("[::1]:0"), Ok(("::1".into(), 0)));
        assert_eq!(told("SSL://kafka:1"), Ok(("kafka".into(), 1)));
        for wrong in ["kafka.example", ":9092", "::1:9092", "host:port", "host:70000", "x://a:1"] {
            assert!(advertise(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_clients_are_told_goes_to_its_listener() {
        let both = || vec![at(SecurityProtocol::Plaintext, 1), at(SecurityProtocol::SaslSsl, 2)];
        let told = |text: &str| advertise(text).unwrap();
        let found = listeners(both(), vec![told("SASL_SSL://kafka:9093")]).unwrap();
        assert_eq!(found[0].advertised, None);
        assert_eq!(found[1].advertised, Some(("kafka".into(), 9093)));
        let only = listeners(both()[1..].to_vec(), vec![told("kafka:9093")]).unwrap();
        assert!(only[0].advertised.is_some());
        for (advertised, expected) in [
            (vec![told("kafka:1")], "not clear"),
            (vec![told("SSL://kafka:1")], "no listener SSL"),
            (vec![told("SASL_SSL://a:1"), told("SASL_SSL://b:1")], "two addresses"),
        ] {
            let error = listeners(both(), advertised).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.hint().is_some());
        }
        let addresses =
            [SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([127, 0, 0, 1], 2))];
        assert_eq!(shown(&found, &addresses), "127.0.0.1:1, SASL_SSL://127.0.0.1:2");
    }

    #[test]
    fn who_opens_a_broker_to_the_network_is_told_what_that_means() {
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 1));
        let of = |protocol, security: &SecurityConfig| {
            warnings(&[Listener::new(protocol, everywhere)], security)
        };
        let none = SecurityConfig::default();
        assert!(of(SecurityProtocol::Plaintext, &none)[0].contains("nobody for a password"));
        assert!(of(SecurityProtocol::SaslPlaintext, &none)[0].contains("SASL_SSL"));
        assert!(of(SecurityProtocol::SaslSsl, &none).is_empty());
        assert!(of(SecurityProtocol::Ssl, &none)[0].contains("--tls-client-ca"));
        let tls = TlsFiles {
            certificate: "a".into(),
            key: "b".into(),
            client_ca: Some("c".into()),
            client_required: true,
        };
        let strict = SecurityConfig { tls: Some(tls), ..none.clone() };
        assert!(of(SecurityProtocol::Ssl, &strict).is_empty());
        let loopback = Listener::new(SecurityProtocol::Plaintext, ([127, 0, 0, 1], 1).into());
        assert!(warnings(&[loopback], &none).is_empty());
        let locked = SecurityConfig { acl: true, ..none };
        assert!(of(SecurityProtocol::SaslSsl, &locked)[0].contains("--super-user"));
    }
}
