//! What every client has: addresses, time limits, TLS, SASL.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::auth::extension_problem;
use crate::settings::names::SettingError;
use crate::settings::values::Values;
use crate::settings::{
    AddressFamily, ConnectionSettings, Pem, SaslSettings, Secret, SecurityProtocol, TlsSettings,
    TokenEndpoint,
};

pub(super) fn connection(values: &mut Values) -> Result<ConnectionSettings, SettingError> {
    let protocol = match values.text("security.protocol") {
        "ssl" => SecurityProtocol::Ssl,
        "sasl_plaintext" => SecurityProtocol::SaslPlaintext,
        "sasl_ssl" => SecurityProtocol::SaslSsl,
        _ => SecurityProtocol::Plaintext,
    };
    let reconnect_backoff = values.millis("reconnect.backoff.ms");
    let reconnect_backoff_max = values.millis("reconnect.backoff.max.ms");
    if reconnect_backoff > reconnect_backoff_max {
        return Err(
            values.error("reconnect.backoff.ms", "must not be above reconnect.backoff.max.ms")
        );
    }
    let retry_backoff_max = values.millis("retry.backoff.max.ms");
    if values.millis("retry.backoff.ms") > retry_backoff_max {
        let reason = "is above retry.backoff.max.ms, which is used throughout".to_owned();
        values.warn("retry.backoff.ms", reason);
    }
    let mut metadata_max_age = values.millis("topic.metadata.refresh.interval.ms");
    let max_age = values.millis("metadata.max.age.ms");
    if metadata_max_age.is_zero() || values.has("metadata.max.age.ms") && max_age < metadata_max_age
    {
        metadata_max_age = max_age;
    }
    let mut max_idle = values.limit("connections.max.idle.ms");
    if !values.has("connections.max.idle.ms")
        && values.text("bootstrap.servers").to_ascii_lowercase().contains("azure")
    {
        // Azure drops connections that were idle for four minutes without a word.
        max_idle = Some(Duration::from_secs(230));
    }
    let buffer = |name| Some(values.size(name)).filter(|size| *size > 0);
    Ok(ConnectionSettings {
        bootstrap: bootstrap(values, protocol)?,
        client_id: values.text("client.id").to_owned(),
        rack: values.text("client.rack").to_owned(),
        protocol,
        tls: tls(values, protocol)?,
        connection_setup_timeout: values.millis("socket.connection.setup.timeout.ms"),
        request_timeout: values.millis("socket.timeout.ms"),
        reconnect_backoff,
        reconnect_backoff_max,
        retry_backoff: values.millis("retry.backoff.ms").min(retry_backoff_max),
        retry_backoff_max,
        max_idle,
        metadata_max_age,
        statistics_interval: values.limit("statistics.interval.ms"),
        receive_max: values.size("receive.message.max.bytes"),
        allow_auto_create_topics: false,
        address_family: match values.text("broker.address.family") {
            "v4" => AddressFamily::V4,
            "v6" => AddressFamily::V6,
            _ => AddressFamily::Any,
        },
        no_delay: values.flag("socket.nagle.disable"),
        keep_alive: values.flag("socket.keepalive.enable"),
        send_buffer: buffer("socket.send.buffer.bytes"),
        receive_buffer: buffer("socket.receive.buffer.bytes"),
        sasl: sasl(values, protocol)?,
    })
}

fn bootstrap(
    values: &Values,
    protocol: SecurityProtocol,
) -> Result<Vec<(String, u16)>, SettingError> {
    let bad = |reason: String| values.error("bootstrap.servers", reason);
    let mut addresses = Vec::new();
    let list = values.text("bootstrap.servers").split(',').map(str::trim);
    for entry in list.filter(|entry| !entry.is_empty()) {
        let address = match entry.split_once("://") {
            Some((named, rest)) if named.eq_ignore_ascii_case(protocol.name()) => rest,
            Some((named, _)) => {
                return Err(bad(format!(
                    "{entry:?} says {named}, and security.protocol says {}",
                    protocol.name()
                )));
            }
            None => entry,
        };
        let (host, port) = match address.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(Some((host, ""))) => (host, None),
            Some(Some((host, port))) => (host, port.strip_prefix(':').or(Some("?"))),
            Some(None) => (address, Some("?")),
            None => match address.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            },
        };
        let port = match port.map(str::parse) {
            None => 9092,
            Some(Ok(port @ 1..)) => port,
            Some(_) => {
                return Err(bad(format!(
                    "{entry:?} is not HOST, HOST:PORT or [IPV6-ADDRESS]:PORT"
                )));
            }
        };
        if host.is_empty() {
            return Err(bad(format!("{entry:?} has no host")));
        }
        addresses.push((host.to_owned(), port));
    }
    match addresses.is_empty() {
        true => Err(bad("names no broker; give at least one as HOST:PORT".into())),
        false => Ok(addresses),
    }
}

fn pem(
    values: &Values,
    location: &'static str,
    text: &'static str,
) -> Result<Option<Pem>, SettingError> {
    match (values.optional(location), values.optional(text)) {
        (Some(_), Some(_)) => {
            Err(values.error(text, format!("{location} is given as well; remove one of them")))
        }
        (Some(file), None) => Ok(Some(Pem::File(file))),
        (None, text) => Ok(text.map(|text| Pem::Text(Secret::new(text)))),
    }
}

fn authorities(
    values: &Values,
    location: &'static str,
    text: &'static str,
) -> Result<Option<Pem>, SettingError> {
    // What librdkafka looks for by itself is what the system has.
    Ok(pem(values, location, text)?.filter(|pem| *pem != Pem::File("probe".into())))
}

fn tls(values: &Values, protocol: SecurityProtocol) -> Result<TlsSettings, SettingError> {
    let settings = TlsSettings {
        authorities: authorities(values, "ssl.ca.location", "ssl.ca.pem")?,
        certificate: pem(values, "ssl.certificate.location", "ssl.certificate.pem")?,
        key: pem(values, "ssl.key.location", "ssl.key.pem")?,
        key_password: values.optional("ssl.key.password").map(Secret::new),
        verify_certificate: values.flag("enable.ssl.certificate.verification"),
        verify_host: values.text("ssl.endpoint.identification.algorithm") == "https",
    };
    match (&settings.certificate, &settings.key) {
        (Some(_), None) if protocol.has_tls() => Err(values.error(
            "ssl.certificate.location",
            "the certificate's key is missing; give ssl.key.location or ssl.key.pem",
        )),
        (None, Some(_)) if protocol.has_tls() => Err(values.error(
            "ssl.key.location",
            "the key's certificate is missing; give ssl.certificate.location or ssl.certificate.pem",
        )),
        _ => Ok(settings),
    }
}

fn sasl(
    values: &mut Values,
    protocol: SecurityProtocol,
) -> Result<Option<SaslSettings>, SettingError> {
    let mechanism = values.text("sasl.mechanisms").to_owned();
    if !protocol.has_sasl() {
        if values.has("sasl.mechanisms") {
            let reason =
                "has no effect without security.protocol=sasl_ssl (or sasl_plaintext)".to_owned();
            values.warn("sasl.mechanism", reason);
        }
        return Ok(None);
    }
    let password = |values: &Values| match (
        values.optional("sasl.username"),
        values.optional("sasl.password"),
    ) {
        (Some(username), Some(password)) => Ok((username, Secret::new(password))),
        (None, _) => {
            Err(values.error("sasl.username", format!("sasl.mechanism {mechanism} needs it")))
        }
        (_, None) => {
            Err(values.error("sasl.password", format!("sasl.mechanism {mechanism} needs it")))
        }
    };
    Ok(Some(match mechanism.as_str() {
        "PLAIN" => {
            let (username, password) = password(values)?;
            SaslSettings::Plain { username, password }
        }
        "SCRAM-SHA-256" | "SCRAM-SHA-512" => {
            let (username, password) = password(values)?;
            SaslSettings::Scram { sha512: mechanism.ends_with("512"), username, password }
        }
        "OAUTHBEARER" => {
            if values.has("sasl.username") {
                let reason = "has no effect with sasl.mechanism OAUTHBEARER".to_owned();
                values.warn("sasl.username", reason);
            }
            match values.text("sasl.oauthbearer.method") {
                "oidc" => SaslSettings::ClientCredentials(token_endpoint(values)?),
                _ => {
                    for name in OF_OIDC {
                        if values.has(name) {
                            let reason = "has no effect without sasl.oauthbearer.method=oidc";
                            values.warn(name, reason.into());
                        }
                    }
                    let config = Secret::new(values.text("sasl.oauthbearer.config"));
                    SaslSettings::OAuthBearer { config }
                }
            }
        }
        "GSSAPI" => {
            return Err(values.error(
                "sasl.mechanisms",
                "Kerberos (GSSAPI) is not here; use another mechanism, or client=\"librdkafka\" in a build that links Cyrus SASL (feature gssapi of rdkafka-sys)",
            ));
        }
        _ => {
            return Err(values.error(
                "sasl.mechanisms",
                "security.protocol asks for SASL, so one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER is needed (GSSAPI only with a librdkafka that was built with it)",
            ));
        }
    }))
}

/// What only `sasl.oauthbearer.method=oidc` reads.
const OF_OIDC: [&str; 7] = [
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.extensions",
    "https.ca.location",
    "https.ca.pem",
];

fn token_endpoint(values: &mut Values) -> Result<TokenEndpoint, SettingError> {
    let needed = |name: &'static str| {
        let missing = || values.error(name, "sasl.oauthbearer.method=oidc needs it");
        values.optional(name).ok_or_else(missing)
    };
    let endpoint = TokenEndpoint {
        url: needed("sasl.oauthbearer.token.endpoint.url")?.trim().to_owned(),
        client_id: needed("sasl.oauthbearer.client.id")?,
        client_secret: Secret::new(needed("sasl.oauthbearer.client.secret")?),
        scope: values.text("sasl.oauthbearer.scope").to_owned(),
        extensions: extensions(values)?,
        authorities: authorities(values, "https.ca.location", "https.ca.pem")?,
    };
    let url = "sasl.oauthbearer.token.endpoint.url";
    let host = match endpoint.url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => rest,
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => {
            let reason = "the client's secret goes over the network in the clear; use https://";
            values.warn(url, reason.into());
            rest
        }
        _ => return Err(values.error(url, "is not https://HOST/PATH (or http://)")),
    };
    let host = host.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() || host.contains('@') {
        return Err(values.error(
            url,
            "needs a host, and no user or password before it: sasl.oauthbearer.client.id and sasl.oauthbearer.client.secret are sent",
        ));
    }
    Ok(endpoint)
}

/// `name=value,name=value`.
fn extensions(values: &Values) -> Result<BTreeMap<String, String>, SettingError> {
    let name = "sasl.oauthbearer.extensions";
    let mut extensions = BTreeMap::new();
    let list = values.text(name).split(',').map(str::trim);
    for pair in list.filter(|pair| !pair.is_empty()) {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| values.error(name, "is not NAME=VALUE,NAME=VALUE"))?;
        if let Some(problem) = extension_problem(key, value) {
            return Err(values.error(name, problem));
        }
        extensions.insert(key.to_owned(), value.to_owned());
    }
    Ok(extensions)
}
