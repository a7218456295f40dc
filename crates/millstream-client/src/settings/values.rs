//! Checks settings one by one: the name, who it is for, and what its value may be.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use super::names::{ClientKind, Kind, SETTINGS, Setting, SettingError, Support};

/// A setting that was left aside, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingWarning {
    /// Its name as it was given.
    pub name: String,
    /// Why. Holds no secret.
    pub reason: String,
}

impl fmt::Display for SettingWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kafka client setting {}: {}", self.name, self.reason)
    }
}

/// Settings that are each right by themselves. Those without effect are no longer among them.
pub(super) struct Values {
    kind: ClientKind,
    given: BTreeMap<&'static str, (String, Zeroizing<String>)>,
    pub(super) warnings: Vec<SettingWarning>,
}

impl Values {
    pub(super) fn check<K: AsRef<str>, V: AsRef<str>>(
        kind: ClientKind,
        given: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, SettingError> {
        let mut values = Self { kind, given: BTreeMap::new(), warnings: Vec::new() };
        for (name, value) in given {
            values.add(name.as_ref(), value.as_ref())?;
        }
        Ok(values)
    }

    fn add(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let setting = Setting::of(name).ok_or_else(|| unknown(name))?;
        let value = value_of(setting, value).map_err(|reason| SettingError::new(name, reason))?;
        let is_default = same(setting, &value, setting.default);
        match setting.support {
            Support::NeedsLibrdkafka { why } if !is_default => {
                return Err(SettingError::new(
                    name,
                    format!("{why}; remove it, or use client=\"librdkafka\""),
                ));
            }
            Support::NoEffect { why } if !is_default => {
                self.warn(name, format!("has no effect: {why}"));
            }
            Support::Honoured if !setting.scope.is_of(self.kind) => {
                let scope = setting.scope.name();
                let kind = self.kind.name();
                self.warn(name, format!("has no effect on a {kind} (it is for: {scope})"));
            }
            Support::Honoured => {
                let entry = (name.to_owned(), Zeroizing::new(value));
                if let Some((other, _)) = self.given.insert(setting.name, entry) {
                    return Err(SettingError::new(
                        name,
                        format!("is another name of {other}, and both are given; remove one"),
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn warn(&mut self, name: &str, reason: String) {
        self.warnings.push(SettingWarning { name: name.to_owned(), reason });
    }

    /// An error about a setting, by the name that it was given by.
    pub(super) fn error(&self, name: &'static str, reason: impl Into<String>) -> SettingError {
        let given = self.given.get(name).map_or(name, |(given, _)| given);
        SettingError::new(given, reason)
    }

    /// Whether the setting was given (by any of its names).
    pub(super) fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The value, or the default; empty if there is neither.
    pub(super) fn text(&self, name: &'static str) -> &str {
        match self.given.get(name) {
            Some((_, value)) => value,
            None => Setting::of(name).map_or("", |setting| setting.default),
        }
    }

    /// The value, if there is one that is not empty.
    pub(super) fn optional(&self, name: &'static str) -> Option<String> {
        let text = self.text(name);
        (!text.is_empty()).then(|| text.to_owned())
    }

    pub(super) fn flag(&self, name: &'static str) -> bool {
        self.text(name) == "true"
    }

    /// A whole number. Values were checked, and a test reads every default.
    pub(super) fn int(&self, name: &'static str) -> i64 {
        self.text(name).parse().unwrap_or_default()
    }

    pub(super) fn size(&self, name: &'static str) -> usize {
        usize::try_from(self.int(name)).unwrap_or(usize::MAX)
    }

    pub(super) fn float(&self, name: &'static str) -> f64 {
        self.text(name).parse().unwrap_or_default()
    }

    /// Milliseconds; what is below zero counts as zero.
    pub(super) fn millis(&self, name: &'static str) -> Duration {
        Duration::from_millis(u64::try_from(self.int(name)).unwrap_or(0))
    }

    /// Milliseconds of which 0 means that there is no limit.
    pub(super) fn limit(&self, name: &'static str) -> Option<Duration> {
        Some(self.millis(name)).filter(|limit| !limit.is_zero())
    }
}

/// Whether two values mean the same.
fn same(setting: &Setting, value: &str, default: &str) -> bool {
    value_of(setting, default).as_deref().unwrap_or(default) == value
}

/// The value in the form that [`Values`] reads, or why it cannot be.
fn value_of(setting: &Setting, given: &str) -> Result<String, String> {
    let trimmed = given.trim();
    let bad = |allowed: String| Err(format!("{trimmed:?} is not {allowed}"));
    match setting.kind {
        Kind::Text | Kind::Secret => Ok(given.to_owned()),
        Kind::Bool => match trimmed.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" => Ok("true".into()),
            "false" | "f" | "0" => Ok("false".into()),
            _ => bad("true or false".into()),
        },
        Kind::Int(low, high) => match trimmed.parse::<i64>() {
            Ok(number) if (low..=high).contains(&number) => Ok(number.to_string()),
            _ => bad(format!("a whole number from {low} to {high}")),
        },
        Kind::Float(low, high) => match trimmed.parse::<f64>() {
            Ok(number) if (low..=high).contains(&number) => Ok(number.to_string()),
            _ => bad(format!("a number from {low} to {high}")),
        },
        Kind::OneOf(values) => match spelled(values, trimmed) {
            Some(value) => Ok(value.into()),
            None => bad(format!("one of {}", values.join(", "))),
        },
        Kind::ListOf(values) => {
            let mut list = Vec::new();
            for part in trimmed.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                match spelled(values, part) {
                    Some(value) if !list.contains(&value) => list.push(value),
                    Some(_) => {}
                    None => return Err(format!("{part:?} is not one of {}", values.join(", "))),
                }
            }
            if list.is_empty() {
                return Err(format!("the list is empty; it may have {}", values.join(", ")));
            }
            Ok(list.join(","))
        }
        Kind::Callback => {
            Err("takes a function or a pointer of a C program, and cannot be given as text".into())
        }
    }
}

fn spelled(values: &[&'static str], given: &str) -> Option<&'static str> {
    values.iter().copied().find(|value| value.eq_ignore_ascii_case(given))
}

/// Names of the Java client that people bring along, and what stands for them.
const OF_JAVA: [(&str, &str); 12] = [
    ("sasl.jaas.config", "sasl.mechanism, sasl.username and sasl.password"),
    ("sasl.login.callback.handler.class", "a token that is handed in"),
    ("sasl.client.callback.handler.class", "a token that is handed in"),
    ("ssl.truststore.location", "ssl.ca.location, a PEM file"),
    ("ssl.truststore.certificates", "ssl.ca.pem"),
    ("ssl.truststore.password", "ssl.ca.location, a PEM file without a password"),
    ("ssl.truststore.type", "ssl.ca.location, a PEM file"),
    ("ssl.keystore.certificate.chain", "ssl.certificate.pem"),
    ("ssl.keystore.key", "ssl.key.pem"),
    ("ssl.keystore.type", "ssl.certificate.location and ssl.key.location, PEM files"),
    ("max.request.size", "message.max.bytes"),
    ("buffer.memory", "queue.buffering.max.kbytes"),
];

fn unknown(name: &str) -> SettingError {
    if let Some((_, instead)) = OF_JAVA.iter().find(|(java, _)| *java == name) {
        let reason = format!("is a setting of the Java client; here it is {instead}");
        return SettingError::new(name, reason);
    }
    let names = SETTINGS
        .iter()
        .flat_map(|setting| [setting.name].into_iter().chain(setting.aliases.iter().copied()));
    let nearest = names.min_by_key(|known| distance(known, name));
    let reason = match nearest {
        // Further away than a third of the name, it would be a guess.
        Some(known) if distance(known, name) <= name.chars().count() / 3 => {
            format!("there is no such setting; did you mean {known}?")
        }
        _ => "there is no such setting".to_owned(),
    };
    SettingError::new(name, reason)
}

/// How many characters have to be put in, taken out or changed to make one of the other
/// (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
