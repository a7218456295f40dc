//! What a client is made from, typed, and how librdkafka's names become these structures:
//! [`consumer`], [`producer`], [`admin`]. [`SETTINGS`] lists the names.

mod names;
mod read;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub use names::{ClientKind, Kind, SETTINGS, Scope, Setting, SettingError, Support};
pub use read::{Read, admin, consumer, producer};
pub use values::SettingWarning;

use millstream_protocol::Compression;
use zeroize::Zeroize;

/// `security.protocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// Neither TLS nor authentication.
    #[default]
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL without TLS.
    SaslPlaintext,
    /// SASL over TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// Whether connections are encrypted.
    pub fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Whether connections authenticate by SASL.
    pub fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    /// The value of `security.protocol`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }
}

/// A text that is never printed, and overwritten when it is dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where PEM text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pem {
    /// A file.
    File(String),
    /// The text itself.
    Text(Secret),
}

/// The `ssl.*` settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Authorities to trust: `ssl.ca.location` (file or folder) or `ssl.ca.pem`; `None`: the
    /// system's.
    pub authorities: Option<Pem>,
    /// Client certificate chain: `ssl.certificate.location`, `ssl.certificate.pem`.
    pub certificate: Option<Pem>,
    /// Its key: `ssl.key.location`, `ssl.key.pem`.
    pub key: Option<Pem>,
    /// What opens the key if it is encrypted (PKCS#8): `ssl.key.password`.
    pub key_password: Option<Secret>,
    /// `enable.ssl.certificate.verification`. Default true.
    pub verify_certificate: bool,
    /// `ssl.endpoint.identification.algorithm` is `https`. Default true.
    pub verify_host: bool,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            authorities: None,
            certificate: None,
            key: None,
            key_password: None,
            verify_certificate: true,
            verify_host: true,
        }
    }
}

/// The `sasl.*` settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaslSettings {
    /// `PLAIN`.
    Plain {
        /// `sasl.username`.
        username: String,
        /// `sasl.password`.
        password: Secret,
    },
    /// `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    Scram {
        /// Whether with SHA-512.
        sha512: bool,
        /// `sasl.username`.
        username: String,
        /// `sasl.password`.
        password: Secret,
    },
    /// `OAUTHBEARER`: the owner hands tokens in.
    OAuthBearer {
        /// `sasl.oauthbearer.config`, passed on to whoever makes the tokens.
        config: Secret,
    },
    /// `OAUTHBEARER` with `sasl.oauthbearer.method=oidc`: the driver fetches tokens.
    ClientCredentials(TokenEndpoint),
}

/// Who gives tokens for a client's id and secret (RFC 6749, section 4.4; KIP-768). It is asked
/// directly: by no proxy, and redirections are not followed.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenEndpoint {
    /// `sasl.oauthbearer.token.endpoint.url`: `https://` or `http://`, without user and password.
    pub url: String,
    /// `sasl.oauthbearer.client.id`.
    pub client_id: String,
    /// `sasl.oauthbearer.client.secret`.
    pub client_secret: Secret,
    /// `sasl.oauthbearer.scope`; empty: none is asked for.
    pub scope: String,
    /// `sasl.oauthbearer.extensions`: what is sent to brokers beside the token (KIP-342).
    pub extensions: BTreeMap<String, String>,
    /// Authorities to trust for `https://`: `https.ca.location` (file or folder) or
    /// `https.ca.pem`; `None`: the system's.
    pub authorities: Option<Pem>,
}

impl TokenEndpoint {
    /// The URL for messages: without its query, which may hold what is nobody's business.
    pub fn shown(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }
}

impl fmt::Debug for TokenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenEndpoint")
            .field("url", &self.shown())
            .field("client_id", &self.client_id)
            .field("client_secret", &self.client_secret)
            .field("scope", &self.scope)
            .field("extensions", &self.extensions)
            .field("authorities", &self.authorities)
            .finish()
    }
}

/// What every client has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// `bootstrap.servers`: names or addresses with ports.
    pub bootstrap: Vec<(String, u16)>,
    /// `client.id`. Default `millstream`.
    pub client_id: String,
    /// `client.rack`; empty: none.
    pub rack: String,
    /// `security.protocol`.
    pub protocol: SecurityProtocol,
    /// TLS, where the protocol has it.
    pub tls: TlsSettings,
    /// SASL, where the protocol has it.
    pub sasl: Option<SaslSettings>,
    /// `socket.connection.setup.timeout.ms`. Default 30 s.
    pub connection_setup_timeout: Duration,
    /// `socket.timeout.ms`: longest wait for a response. Default 60 s.
    pub request_timeout: Duration,
    /// `reconnect.backoff.ms`. Default 100 ms.
    pub reconnect_backoff: Duration,
    /// `reconnect.backoff.max.ms`. Default 10 s.
    pub reconnect_backoff_max: Duration,
    /// `retry.backoff.ms`. Default 100 ms.
    pub retry_backoff: Duration,
    /// `retry.backoff.max.ms`. Default 1 s.
    pub retry_backoff_max: Duration,
    /// `connections.max.idle.ms`. Default: never; by names 230 s if a bootstrap address is of
    /// Azure.
    pub max_idle: Option<Duration>,
    /// `metadata.max.age.ms`, or `topic.metadata.refresh.interval.ms` if that is lower. Default
    /// 5 minutes.
    pub metadata_max_age: Duration,
    /// `statistics.interval.ms`: how often a consumer or producer tells statistics. Default `None`
    /// (0): never.
    pub statistics_interval: Option<Duration>,
    /// `receive.message.max.bytes`. Default 100,000,000.
    pub receive_max: usize,
    /// `allow.auto.create.topics`. Default false; of a producer that is made by names
    /// ([`producer`]) true, as in librdkafka.
    pub allow_auto_create_topics: bool,
    /// `broker.address.family`. Default both.
    pub address_family: AddressFamily,
    /// `socket.nagle.disable`. Default true.
    pub no_delay: bool,
    /// `socket.keepalive.enable`. Default false.
    pub keep_alive: bool,
    /// `socket.send.buffer.bytes`; `None` (0): the system's.
    pub send_buffer: Option<usize>,
    /// `socket.receive.buffer.bytes`; `None` (0): the system's.
    pub receive_buffer: Option<usize>,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            bootstrap: Vec::new(),
            client_id: "millstream".into(),
            rack: String::new(),
            protocol: SecurityProtocol::default(),
            tls: TlsSettings::default(),
            sasl: None,
            connection_setup_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            reconnect_backoff: Duration::from_millis(100),
            reconnect_backoff_max: Duration::from_secs(10),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            max_idle: None,
            metadata_max_age: Duration::from_secs(300),
            statistics_interval: None,
            receive_max: 100_000_000,
            allow_auto_create_topics: false,
            address_family: AddressFamily::Any,
            no_delay: true,
            keep_alive: false,
            send_buffer: None,
            receive_buffer: None,
        }
    }
}

/// `broker.address.family`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressFamily {
    /// Both.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// What to do in a partition that has no committed offset (`auto.offset.reset`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffsetReset {
    /// Start at the first record.
    Earliest,
    /// Start after the last record.
    #[default]
    Latest,
    /// Report an error.
    Error,
}

/// How the partitions of a group are shared out (`partition.assignment.strategy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Equal partition numbers of several topics go to one member; eager.
    Range,
    /// One partition after the other in turn; eager.
    RoundRobin,
    /// Only what must move moves; cooperative.
    CooperativeSticky,
    /// Ours: sticky, cooperative and co-partitioning at once.
    CoPartitioned,
}

impl Assignor {
    /// Whether only the partitions that move are taken away (KIP-429).
    pub fn is_cooperative(self) -> bool {
        matches!(self, Self::CooperativeSticky | Self::CoPartitioned)
    }
}

/// What a group member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.id`.
    pub group_id: String,
    /// `group.instance.id`.
    pub instance_id: Option<String>,
    /// `partition.assignment.strategy`, in order of preference. Default range, roundrobin.
    pub assignors: Vec<Assignor>,
    /// `session.timeout.ms`. Default 45 s.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`. Default 3 s.
    pub heartbeat_interval: Duration,
    /// `max.poll.interval.ms`. Default 5 min.
    pub max_poll_interval: Duration,
    /// `group.protocol=consumer` (KIP-848). Default false.
    pub broker_assigns: bool,
    /// `group.remote.assignor`.
    pub remote_assignor: Option<String>,
    /// `auto.commit.interval.ms` (by names 5 s; 0: `None`), if `enable.auto.commit` and
    /// `enable.auto.offset.store`.
    pub auto_commit_interval: Option<Duration>,
}

/// What a consumer has beside its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// The group, if it has one.
    pub group: Option<GroupSettings>,
    /// `auto.offset.reset`.
    pub offset_reset: OffsetReset,
    /// `isolation.level` is `read_committed`. Default true.
    pub read_committed: bool,
    /// `fetch.wait.max.ms`. Default 500 ms.
    pub fetch_wait: Duration,
    /// `fetch.min.bytes`. Default 1.
    pub fetch_min_bytes: i32,
    /// `fetch.max.bytes`: most bytes that one fetch asks for. Default 4 MiB. By names it is, unless
    /// it is given, a sixteenth of `queued_max_bytes`, but at least `max.partition.fetch.bytes`,
    /// `fetch.min.bytes` and `message.max.bytes`: a response is in memory as a whole until the last
    /// of its partitions is read.
    pub fetch_max_bytes: i32,
    /// `max.partition.fetch.bytes`. Default 1 MiB.
    pub partition_fetch_bytes: i32,
    /// `queued.max.messages.kbytes`: most bytes that are fetched ahead, of the whole client.
    /// Default 64 MiB.
    pub queued_max_bytes: usize,
    /// `check.crcs`. Default true (librdkafka: false; here the processor does it).
    pub check_crcs: bool,
    /// `enable.partition.eof`. Default false.
    pub partition_end: bool,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            group: None,
            offset_reset: OffsetReset::Latest,
            read_committed: true,
            fetch_wait: Duration::from_millis(500),
            fetch_min_bytes: 1,
            fetch_max_bytes: 4 << 20,
            partition_fetch_bytes: 1_048_576,
            queued_max_bytes: 65_536 * 1024,
            check_crcs: true,
            partition_end: false,
        }
    }
}

/// `acks`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// No answer is waited for.
    None,
    /// The leader has it.
    Leader,
    /// All in-sync replicas have it.
    #[default]
    All,
}

/// `partitioner`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitioner {
    /// `random`.
    Random,
    /// `consistent`: CRC32 of the key; an absent key counts as empty.
    Consistent,
    /// `consistent_random`: CRC32 of the key; without a key, or an empty one, random.
    ConsistentRandom,
    /// `murmur2`: as the Java client; an absent key counts as empty.
    Murmur2,
    /// `murmur2_random`: as the Java client; without a key random. Default.
    Murmur2Random,
    /// `fnv1a`.
    Fnv1a,
    /// `fnv1a_random`.
    Fnv1aRandom,
}

/// What a producer has beside its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerSettings {
    /// `enable.idempotence`. Default true (librdkafka: false); by names false if it is not given
    /// and `acks`, `retries` or `max.in.flight.requests.per.connection` cannot go with it, except
    /// with a transactional id.
    pub idempotent: bool,
    /// `transactional.id`.
    pub transactional_id: Option<String>,
    /// `transaction.timeout.ms`. Default 60 s.
    pub transaction_timeout: Duration,
    /// `acks`. Default all.
    pub acks: Acks,
    /// `request.timeout.ms`: how long the broker may wait for its replicas. Default 30 s.
    pub request_timeout: Duration,
    /// `message.timeout.ms`, `delivery.timeout.ms`: how long a record may take in all. Default
    /// 5 min, with a transactional id by names `transaction.timeout.ms`. `None` (0): for ever.
    pub delivery_timeout: Option<Duration>,
    /// `topic.metadata.propagation.max.ms`: how long a record waits for a topic that brokers say
    /// is not there; a new one takes a while to reach all of them. Default 30 s.
    pub topic_propagation: Duration,
    /// `linger.ms`. Default 5 ms.
    pub linger: Duration,
    /// `batch.size`: most bytes of a batch before compression. Default 1,000,000.
    pub batch_bytes: usize,
    /// `batch.num.messages`: most records of a batch. Default 10,000.
    pub batch_records: usize,
    /// `message.max.bytes`: largest record or request. Default 1,000,000.
    pub message_max_bytes: usize,
    /// `queue.buffering.max.kbytes`: most bytes that wait. Default 1 GiB.
    pub queue_max_bytes: usize,
    /// `queue.buffering.max.messages` (0: no limit): most records that wait. Default 100,000.
    pub queue_max_records: usize,
    /// `compression.type`. Default none.
    pub compression: Compression,
    /// `compression.level`, for [`Compression::pack_at`]; `None` (-1): the codec's own.
    pub compression_level: Option<i32>,
    /// `max.in.flight.requests.per.connection`; at most 5 with idempotence. Default 5 (librdkafka
    /// without idempotence: 1,000,000).
    pub in_flight_max: usize,
    /// `retries`. Default: until the delivery time-out.
    pub retries: u32,
    /// `partitioner`. Default `murmur2_random` (librdkafka: `consistent_random`).
    pub partitioner: Partitioner,
    /// `sticky.partitioning.linger.ms`. Default twice `linger`.
    pub sticky_linger: Duration,
}

impl Default for ProducerSettings {
    fn default() -> Self {
        Self {
            idempotent: true,
            transactional_id: None,
            transaction_timeout: Duration::from_secs(60),
            acks: Acks::All,
            request_timeout: Duration::from_secs(30),
            delivery_timeout: Some(Duration::from_secs(300)),
            topic_propagation: Duration::from_secs(30),
            linger: Duration::from_millis(5),
            batch_bytes: 1_000_000,
            batch_records: 10_000,
            message_max_bytes: 1_000_000,
            queue_max_bytes: 1_048_576 * 1024,
            queue_max_records: 100_000,
            compression: Compression::None,
            compression_level: None,
            in_flight_max: 5,
            retries: u32::MAX,
            partitioner: Partitioner::Murmur2Random,
            sticky_linger: Duration::from_millis(10),
        }
    }
}

impl ProducerSettings {
    /// Whether they go together, as the Java client has it.
    pub(crate) fn check(&self) -> Result<(), SettingError> {
        let (name, reason) = match self {
            Self { idempotent: false, transactional_id: Some(_), .. } => {
                ("transactional.id", "needs enable.idempotence=true")
            }
            Self { idempotent: false, .. } => return Ok(()),
            Self { acks: Acks::None | Acks::Leader, .. } => {
                ("acks", "must be all with enable.idempotence=true; remove it")
            }
            Self { in_flight_max: 6.., .. } => (
                "max.in.flight.requests.per.connection",
                "must not be above 5 with enable.idempotence=true; lower it",
            ),
            Self { retries: 0, .. } => {
                ("retries", "must not be 0 with enable.idempotence=true; remove it")
            }
            _ => return Ok(()),
        };
        let switch = if self.idempotent { ", or set enable.idempotence=false" } else { "" };
        Err(SettingError::new(name, format!("{reason}{switch}")))
    }
}
