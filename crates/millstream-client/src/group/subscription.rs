//! What a member subscribes to: names, and regular expressions over names.

use std::collections::BTreeSet;
use std::sync::Arc;

use regex_lite::Regex;

use crate::error::{KafkaError, code};
use crate::metadata::Metadata;

/// Topics by name and by pattern.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscription {
    pub(crate) topics: BTreeSet<Arc<str>>,
    pub(crate) patterns: Vec<Regex>,
}

impl PartialEq for Subscription {
    fn eq(&self, other: &Self) -> bool {
        self.topics == other.topics
            && self.patterns.iter().map(Regex::as_str).eq(other.patterns.iter().map(Regex::as_str))
    }
}

impl Subscription {
    /// Reads names as librdkafka does: one that starts with `^` is a regular expression that is
    /// looked for in the topic's name.
    ///
    /// # Errors
    /// [`code::INVALID_ARGUMENT`] for an empty name or an expression that is none.
    pub(crate) fn parse<S: AsRef<str>>(names: &[S]) -> Result<Self, KafkaError> {
        let mut subscription = Self::default();
        for name in names {
            let name = name.as_ref();
            if name.is_empty() {
                return Err(KafkaError::with(
                    code::INVALID_ARGUMENT,
                    Some("a topic without a name cannot be subscribed to"),
                ));
            }
            if name.starts_with('^') {
                let pattern = Regex::new(name).map_err(|error| {
                    let text = format!("{name:?} is no regular expression: {error}");
                    KafkaError::with(code::INVALID_ARGUMENT, Some(&text))
                })?;
                if !subscription.patterns.iter().any(|other| other.as_str() == name) {
                    subscription.patterns.push(pattern);
                }
            } else {
                subscription.topics.insert(name.into());
            }
        }
        Ok(subscription)
    }

    /// The topics that are meant, given what there is. Patterns leave internal topics out, as
    /// `exclude.internal.topics` does by default.
    pub(super) fn resolve(&self, metadata: &Metadata) -> BTreeSet<Arc<str>> {
        let mut topics = self.topics.clone();
        if !self.patterns.is_empty() {
            let matching = metadata
                .topics()
                .filter(|(name, info)| !info.internal && self.matches(name))
                .map(|(name, _)| name.clone());
            topics.extend(matching);
        }
        topics
    }

    #[cfg(test)]
    /// Whether a topic of this name would be meant.
    pub(super) fn covers(&self, topic: &str) -> bool {
        self.topics.contains(topic) || self.matches(topic)
    }

    fn matches(&self, topic: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.is_match(topic))
    }

    /// The patterns as one expression for the broker, which holds it against whole names (RE2/J).
    pub(super) fn broker_pattern(&self) -> Option<String> {
        let parts: Vec<String> =
            self.patterns.iter().map(|pattern| format!(".*(?:{}).*", pattern.as_str())).collect();
        (!parts.is_empty()).then(|| parts.join("|"))
    }
}
