//! Client settings as librdkafka names them, and the rules by which they are merged (parity rows
//! A-04, A-07, C-10, C-11). Pure functions over [`Properties`]; nothing here connects.
//!
//! A setting comes from four places. Later ones win:
//!
//! 1. our defaults,
//! 2. the user's extra configuration,
//! 3. the connection configuration (addresses and security),
//! 4. values that the product depends on ("forced").

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Settings by their dotted names. Printing one never shows a secret.
///
/// ```
/// use millstream_kafka::Properties;
/// let p: Properties = [("sasl.username", "alice"), ("sasl.password", "s3cret")].into();
/// assert_eq!(format!("{p:?}"), r#"{"sasl.password": ***, "sasl.username": "alice"}"#);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// No setting.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `name`, replacing what was there under this name or an alias of it.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(canonical_name(name).to_owned(), value.into());
    }

    /// Sets `name` unless it is set.
    pub fn set_default(&mut self, name: &str, value: &str) {
        self.0.entry(canonical_name(name).to_owned()).or_insert_with(|| value.to_owned());
    }

    /// The value of `name`, or of an alias of it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(canonical_name(name)).map(String::as_str)
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        self.0.remove(canonical_name(name))
    }

    /// Sets all of `other`, which wins.
    pub fn merge(&mut self, other: &Self) {
        self.0.extend(other.0.iter().map(|(name, value)| (name.clone(), value.clone())));
    }

    /// All settings by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Properties {
    fn from(entries: [(&str, &str); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K: AsRef<str>, V: Into<String>> FromIterator<(K, V)> for Properties {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut properties = Self::new();
        for (name, value) in entries {
            properties.set(name.as_ref(), value);
        }
        properties
    }
}

impl From<BTreeMap<String, String>> for Properties {
    fn from(entries: BTreeMap<String, String>) -> Self {
        entries.into_iter().collect()
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in &self.0 {
            if is_secret(name) {
                map.entry(name, &format_args!("***"));
            } else {
                map.entry(name, value);
            }
        }
        map.finish()
    }
}

/// Whether a setting's value must not be printed: passwords, keys, tokens, and the OAuth settings
/// that may carry one (parity row C-05, and more than it asks for).
pub fn is_secret(name: &str) -> bool {
    name.contains("password")
        || name.contains("secret")
        || name.contains("token") && !name.contains("endpoint")
        || name.contains("key.pem")
        || name.contains("assertion")
        || matches!(name, "ssl_key" | "ssl.ca.pem" | "sasl.oauthbearer.config" | "sasl.jaas.config")
}

/// librdkafka knows some settings under two names. Merging must see them as one, or the winner
/// would be decided by the alphabet.
fn canonical_name(name: &str) -> &str {
    match name {
        "metadata.broker.list" => "bootstrap.servers",
        "sasl.mechanism" => "sasl.mechanisms",
        "queue.buffering.max.ms" => "linger.ms",
        "compression.codec" => "compression.type",
        "message.send.max.retries" => "retries",
        "request.required.acks" => "acks",
        "delivery.timeout.ms" => "message.timeout.ms",
        "fetch.message.max.bytes" => "max.partition.fetch.bytes",
        "max.in.flight" => "max.in.flight.requests.per.connection",
        other => other,
    }
}

/// Where a group starts in a partition that it has no committed offset for (parity row A-04).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffsetReset {
    /// At the first record.
    Earliest,
    /// After the last record.
    #[default]
    Latest,
    /// Nowhere: the partition reports [`crate::code::AUTO_OFFSET_RESET`].
    Error,
}

impl OffsetReset {
    fn as_str(self) -> &'static str {
        match self {
            Self::Earliest => "earliest",
            Self::Latest => "latest",
            Self::Error => "error",
        }
    }
}

/// How a group's partitions are shared out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assignor {
    /// Equal partition numbers of several topics go to one member, which joins and stores rely on
    /// (parity row C-10). Every rebalance takes all partitions away first.
    #[default]
    Range,
    /// Only the partitions that move are taken away. Does not co-partition.
    CooperativeSticky,
}

/// What the product decides about a consumer, apart from connection and extra configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// The group to join or to commit for. Without one only [`crate::Consumer::assign`] works, and
    /// the cluster needs to grant no right on any group.
    pub group_id: Option<String>,
    /// See [`OffsetReset`].
    pub auto_offset_reset: OffsetReset,
    /// Whether the client itself commits what was read, at intervals. Default: no.
    pub auto_commit: bool,
    /// See [`Assignor`].
    pub assignor: Assignor,
}

/// Settings of a consumer by the rules of parity rows A-07 and C-10.
pub fn consumer_properties(
    extra: &Properties,
    connection: &Properties,
    settings: &ConsumerSettings,
) -> Properties {
    let mut merged = Properties::new();
    // A fetch that found the queue full is tried again after this; librdkafka's own second is a
    // visible pause in a pipeline at full speed.
    merged.set("fetch.queue.backoff.ms", "100");
    // A quarter of the client's own default: what waits longer than it takes to fetch more only costs
    // memory, and the time to touch it for the first time (measured: a tenth of a native pipeline).
    merged.set("queued.max.messages.kbytes", "16384");
    merged.set("enable.auto.offset.store", "false");
    merged.merge(extra);
    merged.merge(connection);
    match &settings.group_id {
        Some(group) => merged.set("group.id", group.as_str()),
        None => drop(merged.remove("group.id")),
    }
    merged.set("auto.offset.reset", settings.auto_offset_reset.as_str());
    merged.set("enable.auto.commit", settings.auto_commit.to_string());
    // With the protocol of KIP-848 the broker assigns and the client refuses the setting.
    if merged.get("group.protocol").is_some_and(|p| p.eq_ignore_ascii_case("consumer")) {
        merged.remove("partition.assignment.strategy");
    } else {
        let assignor = match settings.assignor {
            Assignor::Range => "range",
            Assignor::CooperativeSticky => "cooperative-sticky",
        };
        merged.set("partition.assignment.strategy", assignor);
    }
    merged.set("enable.partition.eof", "true");
    merged
}

/// Settings of a producer by the rules of parity rows A-07 and C-11: idempotent, keys hashed as the
/// Java client hashes them, records without a key to a random partition that sticks for a while.
pub fn producer_properties(extra: &Properties, connection: &Properties) -> Properties {
    let mut merged = Properties::new();
    merged.set("enable.idempotence", "true");
    merged.set("partitioner", "murmur2_random");
    merged.merge(extra);
    merged.merge(connection);
    // Deliveries are counted, not reported one by one; see `Producer`.
    merged.set("delivery.report.only.error", "true");
    merged
}

/// Settings of an admin client: the connection, over what of `extra` concerns connections.
pub fn admin_properties(extra: &Properties, connection: &Properties) -> Properties {
    let mut merged: Properties =
        extra.iter().filter(|(name, _)| concerns_connection(name)).collect();
    merged.merge(connection);
    merged
}

/// Whether a setting is about connections: such is what an admin client takes of the settings of
/// other clients.
///
/// ```
/// use millstream_kafka::config::concerns_connection;
/// assert!(concerns_connection("ssl.ca.location") && !concerns_connection("linger.ms"));
/// // Whom to trust where OAuth tokens are fetched.
/// assert!(concerns_connection("https.ca.location") && concerns_connection("https.ca.pem"));
/// ```
pub fn concerns_connection(name: &str) -> bool {
    const PREFIXES: [&str; 11] = [
        "bootstrap.",
        "broker.",
        "client.",
        "enable.sasl.",
        "enable.ssl.",
        "https.",
        "metadata.",
        "sasl.",
        "security.",
        "socket.",
        "ssl.",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || matches!(name, crate::CLIENT | "debug")
}

/// A token for SASL/OAUTHBEARER.
#[derive(Clone, PartialEq, Eq)]
pub struct OAuthToken {
    /// The token itself.
    pub token: String,
    /// When it ends, in milliseconds since the epoch.
    pub expires_at_ms: i64,
    /// The principal; may be empty.
    pub principal: String,
    /// SASL extensions by name.
    pub extensions: BTreeMap<String, String>,
}

impl fmt::Debug for OAuthToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthToken")
            .field("token", &format_args!("***"))
            .field("expires_at_ms", &self.expires_at_ms)
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

/// Where tokens come from, when the application fetches them itself (`oauth_cb` of parity row
/// C-02). Called on the thread that polls the client, never on one of the client's own.
pub trait TokenSource: Send + Sync {
    /// A new token; `config` is the value of `sasl.oauthbearer.config`.
    ///
    /// # Errors
    /// Text for the log. The client tries again after ten seconds.
    fn token(&self, config: &str) -> Result<OAuthToken, String>;
}

/// All that a client is made from.
#[derive(Clone)]
pub struct ClientConfig {
    /// librdkafka settings, merged.
    pub properties: Properties,
    /// Where OAuth tokens come from. Without one, a need for a token is reported as an event.
    pub token_source: Option<Arc<dyn TokenSource>>,
}

impl ClientConfig {
    /// These settings, without a token source.
    pub fn new(properties: Properties) -> Self {
        Self { properties, token_source: None }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("properties", &self.properties)
            .field("token_source", &self.token_source.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests;
