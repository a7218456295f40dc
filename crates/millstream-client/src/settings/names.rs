//! librdkafka's names of the settings: what each may be and whether it does something here.

mod table;

pub use table::SETTINGS;

/// Whether a setting does something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It does what librdkafka's documentation says.
    Honoured,
    /// It is checked and then left aside.
    NoEffect {
        /// Why that is right.
        why: &'static str,
    },
    /// What it asks for is not here. Only the default is taken.
    NeedsLibrdkafka {
        /// What is not here.
        why: &'static str,
    },
}

/// Which clients a setting is for. Others take it and leave it aside, with a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every client.
    Both,
    /// Consumers.
    Consumer,
    /// Producers.
    Producer,
    /// A topic of a consumer; given to the client it holds for all its topics.
    ConsumerTopic,
    /// A topic of a producer; given to the client it holds for all its topics.
    ProducerTopic,
    /// A topic of any client.
    BothTopic,
}

impl Scope {
    /// Whether a client of that kind has the setting.
    pub fn is_of(self, kind: ClientKind) -> bool {
        match self {
            Self::Both | Self::BothTopic => true,
            Self::Consumer | Self::ConsumerTopic => kind == ClientKind::Consumer,
            Self::Producer | Self::ProducerTopic => kind == ClientKind::Producer,
        }
    }

    /// As the documentation says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Consumer => "consumer",
            Self::Producer => "producer",
            Self::ConsumerTopic => "consumer, topic",
            Self::ProducerTopic => "producer, topic",
            Self::BothTopic => "both, topic",
        }
    }
}

/// Whose settings are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// [`crate::consumer`].
    Consumer,
    /// [`crate::producer`].
    Producer,
    /// [`crate::admin`].
    Admin,
}

impl ClientKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Consumer => "consumer",
            Self::Producer => "producer",
            Self::Admin => "admin client",
        }
    }
}

/// What a setting's value may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A text that is never shown.
    Secret,
    /// `true` or `false` (also `t`, `f`, `1`, `0`).
    Bool,
    /// A whole number within these bounds.
    Int(i64, i64),
    /// A number within these bounds.
    Float(f64, f64),
    /// One of these, in any case.
    OneOf(&'static [&'static str]),
    /// Some of these in order, with commas.
    ListOf(&'static [&'static str]),
    /// A function or pointer of librdkafka's C interface; cannot be given as text, there neither.
    Callback,
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Its other names.
    pub aliases: &'static [&'static str],
    /// Which clients have it.
    pub scope: Scope,
    /// What its value may be.
    pub kind: Kind,
    /// Its value if it is not given; empty: none, or what [`super`] says.
    pub default: &'static str,
    /// Whether it does something here.
    pub support: Support,
}

impl Setting {
    /// The setting of that name or alias.
    pub fn of(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name || setting.aliases.contains(&name))
    }

    /// Whether its value must not be shown.
    pub fn is_secret(&self) -> bool {
        self.kind == Kind::Secret
    }
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Kafka client setting {name}: {reason}")]
pub struct SettingError {
    /// Its name.
    pub name: String,
    /// Why, and what can be done. Holds no secret.
    pub reason: String,
}

impl SettingError {
    pub(crate) fn new(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: name.into(), reason: reason.into() }
    }
}
