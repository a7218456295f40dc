//! What members subscribe to, and which topics that is.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError;
use uuid::Uuid;

use super::ConsumerGroup;
use crate::pattern::Pattern;
use crate::topics::Refused;

/// The topics there are, as groups see them.
pub(crate) trait Catalog {
    /// Changes whenever a topic comes, goes or grows.
    fn generation(&self) -> u64;

    /// A topic's id and its number of partitions.
    fn topic(&self, name: &str) -> Option<(Uuid, i32)>;

    /// The names of all topics.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_>;
}

/// What a member subscribes to: names and what a regular expression matches, together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) names: BTreeSet<String>,
    /// Empty for none.
    pub(crate) regex: String,
}

/// Refuses what is no regular expression; the empty one stands for none.
pub(super) fn check_regex(regex: &str) -> Result<(), Refused> {
    if regex.is_empty() {
        return Ok(());
    }
    Pattern::new(regex)
        .map(drop)
        .map_err(|message| Refused::new(ResponseError::InvalidRegularExpression, message))
}

impl ConsumerGroup {
    /// Finds out anew which topics the members subscribe to. Returns whether it has changed.
    pub(super) fn look_at_topics(&mut self, catalog: &dyn Catalog) -> bool {
        let is_known = self.seen == Some(catalog.generation());
        self.seen = Some(catalog.generation());
        let mut matches = BTreeMap::new();
        for member in self.members.values() {
            let regex = &member.subscription.regex;
            if regex.is_empty() || matches.contains_key(regex) {
                continue;
            }
            let names = match self.matches.remove(regex).filter(|_| is_known) {
                Some(names) => names,
                None => matching(regex, catalog),
            };
            matches.insert(regex.clone(), names);
        }
        self.matches = matches;
        let names = self.members.values().flat_map(|member| &member.subscription.names);
        let names = names.chain(self.matches.values().flatten()).collect::<BTreeSet<&String>>();
        let topics: BTreeMap<String, (Uuid, i32)> = names
            .into_iter()
            .filter_map(|name| Some((name.clone(), catalog.topic(name)?)))
            .collect();
        if topics == self.topics {
            return false;
        }
        self.topics = topics;
        self.unstored.group = true;
        true
    }
}

impl ConsumerGroup {
    /// Forgets topics that nobody subscribes to any more.
    pub(super) fn forget_topics(&mut self) {
        let members = &self.members;
        let uses = |regex: &String| members.values().any(|m| m.subscription.regex == *regex);
        self.matches.retain(|regex, _| uses(regex));
        let matches = &self.matches;
        self.topics.retain(|name, _| {
            members.values().any(|member| member.subscription.names.contains(name))
                || matches.values().any(|names| names.contains(name))
        });
    }
}

/// What was checked when it came in matches nothing if it cannot be read any more.
fn matching(regex: &str, catalog: &dyn Catalog) -> BTreeSet<String> {
    let Ok(pattern) = Pattern::new(regex) else { return BTreeSet::new() };
    catalog.names().filter(|name| pattern.matches(name)).map(str::to_owned).collect()
}
