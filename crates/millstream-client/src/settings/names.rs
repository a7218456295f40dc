//! librdkafka's names of the settings.

/// Whether a setting does something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It does what librdkafka's documentation says.
    Honoured,
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Whether it does something here.
    pub support: Support,
}

/// All settings that librdkafka has.
pub const SETTINGS: &[Setting] = &[];

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Kafka client setting {name}: {reason}")]
pub struct SettingError {
    /// Its name.
    pub name: String,
    /// Why, and what can be done. Holds no secret.
    pub reason: String,
}
