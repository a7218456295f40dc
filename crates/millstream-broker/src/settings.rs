//! The broker's and the topics' settings: Kafka's names, Kafka's defaults, and who set what.
//!
//! The [`table`] knows every setting that Apache Kafka 4.3 has a default for, whether this
//! broker obeys it or not: clients read them (DescribeConfigs), and a topic that is moved to a
//! cluster must not change its meaning. [`Settings`] adds what was given at the start (*static*)
//! and what was changed while running (*dynamic*). A topic's own values are held by the topic.

mod groups;
pub(crate) mod table;

use std::collections::BTreeMap;

use millstream_protocol::Compression;

use crate::log::{LogConfig, TimestampType};
use table::{Kind, Row};

/// Where a value comes from; the numbers are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub(crate) enum Source {
    Topic = 1,
    DynamicBroker = 2,
    DynamicDefault = 3,
    StaticBroker = 4,
    Default = 5,
}

/// Values by name; `BTreeMap` keeps answers in order.
pub(crate) type Values = BTreeMap<String, String>;

/// One setting as DescribeConfigs shows it.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) row: &'static Row,
    pub(crate) value: Option<String>,
    pub(crate) source: Source,
    pub(crate) read_only: bool,
    /// Name, value and source of every place that sets it, the effective one first.
    pub(crate) synonyms: Vec<(&'static str, String, Source)>,
}

/// The broker's settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    statics: Values,
    /// Changed while running, for this broker.
    pub(crate) dynamic: Values,
    /// Changed while running, for all brokers of the cluster.
    pub(crate) dynamic_default: Values,
}

/// What this broker sets differently from Kafka, and says so when asked.
const OWN_DEFAULTS: [(&str, &str); 13] = [
    // A typing error in a topic's name must not make a topic.
    ("auto.create.topics.enable", "false"),
    // Waiting for more members helps large groups and costs every small one three seconds.
    ("group.initial.rebalance.delay.ms", "0"),
    ("node.id", "1"),
    ("broker.id", "1"),
    ("process.roles", "broker,controller"),
    ("offsets.topic.replication.factor", "1"),
    ("offsets.topic.num.partitions", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    // Groups of Kafka Streams (KIP-1071) are not served.
    ("group.coordinator.rebalance.protocols", "classic,consumer"),
    // A group changes its protocol while it has no members.
    ("group.consumer.migration.policy", "disabled"),
];

/// Settings that something else decides, and what: set as a setting they would have no effect.
const DECIDED_ELSEWHERE: [(&str, &str); 12] = [
    ("listeners", "the address to listen on is given with --listen"),
    ("advertised.listeners", "what clients connect to is given with --advertise"),
    ("log.dirs", "where data is kept is given with --data-dir"),
    ("log.dir", "where data is kept is given with --data-dir"),
    ("node.id", "the broker is alone in its cluster and always has the number 1"),
    ("broker.id", "the broker is alone in its cluster and always has the number 1"),
    ("process.roles", "the broker is alone in its cluster and has all roles"),
    ("authorizer.class.name", "access control lists are asked for with --acl"),
    ("sasl.jaas.config", "users are given with --users"),
    ("ssl.client.auth", "certificates of clients are asked for with --tls-client-ca"),
    ("ssl.keystore.location", "certificate and key are given with --tls-cert and --tls-key"),
    ("ssl.truststore.location", "authorities are given with --tls-client-ca"),
];

/// Refuses a broker setting that something else decides.
///
/// # Errors
/// A text for the user.
pub(crate) fn check_settable(name: &str) -> Result<(), String> {
    match DECIDED_ELSEWHERE.iter().find(|(other, _)| *other == name) {
        Some((_, advice)) => Err(format!("the broker setting `{name}` cannot be set: {advice}")),
        None => Ok(()),
    }
}

impl Settings {
    /// Settings as given at the start, over our own defaults, over Kafka's.
    ///
    /// # Errors
    /// A text for the user if a name is unknown or a value is not allowed.
    pub(crate) fn new(given: &Values) -> Result<Self, String> {
        let mut statics: Values =
            OWN_DEFAULTS.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        for (name, value) in given {
            let row = table::broker(name).ok_or_else(|| {
                format!(
                    "unknown broker setting `{name}`; the names are those of Apache Kafka's broker"
                )
            })?;
            check_settable(name)?;
            row.check(value)?;
            statics.insert(name.clone(), value.clone());
        }
        let settings = Self { statics, ..Self::default() };
        groups::check(&settings)?;
        Ok(settings)
    }

    /// Adds a value that the start decides, such as the address.
    pub(crate) fn set_static(&mut self, name: &str, value: String) {
        debug_assert!(table::broker(name).is_some(), "{name} is not in the table");
        self.statics.insert(name.to_owned(), value);
    }

    fn explicit(&self, name: &str) -> impl Iterator<Item = (&str, Source)> {
        [
            (&self.dynamic, Source::DynamicBroker),
            (&self.dynamic_default, Source::DynamicDefault),
            (&self.statics, Source::StaticBroker),
        ]
        .into_iter()
        .filter_map(move |(values, source)| Some((values.get(name)?.as_str(), source)))
    }

    /// The effective value of a broker setting.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let explicit = self.explicit(name).next().map(|(value, _)| value);
        explicit.or_else(|| table::broker(name)?.default)
    }

    /// The effective value of a broker setting that is a number.
    ///
    /// # Panics
    /// If the setting has no default and is not set, or is not a number: a bug of the caller.
    pub(crate) fn number(&self, name: &str) -> i64 {
        let text = self.text(name).expect("the caller names a setting that has a value");
        text.parse().expect("values were checked when they were set")
    }

    /// The effective value of a broker setting that is true or false.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// All broker settings; with `defaults_only`, those that were set for all brokers while
    /// running (the resource with an empty name).
    pub(crate) fn describe_broker(&self, defaults_only: bool) -> Vec<Described> {
        if defaults_only {
            return self
                .dynamic_default
                .iter()
                .filter_map(|(name, value)| {
                    let row = table::broker(name)?;
                    let source = Source::DynamicDefault;
                    let synonyms = vec![(row.name, value.clone(), source)];
                    let value = Some(value.clone());
                    Some(Described { row, value, source, read_only: false, synonyms })
                })
                .collect();
        }
        table::all_broker()
            .iter()
            .map(|row| self.describe(row, Vec::new(), &[(row.name, 1)], !row.dynamic))
            .collect()
    }

    /// All settings of a topic with those values of its own.
    pub(crate) fn describe_topic(&self, own: &Values) -> Vec<Described> {
        table::all_topic()
            .iter()
            .map(|row| {
                let own = own.get(row.name).map(|value| (row.name, value.clone(), Source::Topic));
                self.describe(row, own.into_iter().collect(), &row.synonyms, false)
            })
            .collect()
    }

    fn describe(
        &self,
        row: &'static Row,
        mut synonyms: Vec<(&'static str, String, Source)>,
        from: &[(&'static str, i64)],
        read_only: bool,
    ) -> Described {
        for (name, factor) in from {
            for (value, source) in self.explicit(name) {
                synonyms.push((name, scaled(value, *factor), source));
            }
        }
        if let Some((name, 1)) = from.first()
            && let Some(value) = table::broker(name).and_then(|row| row.default)
        {
            synonyms.push((name, value.to_owned(), Source::Default));
        }
        let (value, source) = match synonyms.first() {
            Some((_, value, source)) => (Some(value.clone()), *source),
            None => (row.default.map(str::to_owned), Source::Default),
        };
        Described { row, value, source, read_only, synonyms }
    }

    /// Checks what the settings of a topic with those values of its own say together, as Kafka
    /// does.
    ///
    /// # Errors
    /// A text for the user.
    pub(crate) fn check_topic(&self, own: &Values) -> Result<(), String> {
        let config = self.log_config(own);
        let (min, max) = (config.min_compaction_lag_ms, config.max_compaction_lag_ms);
        if min <= max {
            return Ok(());
        }
        Err(format!("min.compaction.lag.ms ({min}) is larger than max.compaction.lag.ms ({max})"))
    }

    /// What the logs of a topic with those values of its own obey.
    pub(crate) fn log_config(&self, own: &Values) -> LogConfig {
        let described: BTreeMap<&str, String> = self
            .describe_topic(own)
            .into_iter()
            .filter_map(|setting| Some((setting.row.name, setting.value?)))
            .collect();
        let text = |name: &str| described.get(name).map_or("", String::as_str);
        let number = |name: &str| -> i64 {
            text(name).parse().expect("values were checked when they were set")
        };
        let cleans_by =
            |wanted: &str| text("cleanup.policy").split(',').any(|policy| policy.trim() == wanted);
        LogConfig {
            segment_bytes: number("segment.bytes") as u64,
            segment_ms: number("segment.ms"),
            retention_ms: number("retention.ms"),
            retention_bytes: number("retention.bytes"),
            delete: cleans_by("delete"),
            compact: cleans_by("compact"),
            min_cleanable_ratio: text("min.cleanable.dirty.ratio")
                .parse()
                .expect("values were checked when they were set"),
            min_compaction_lag_ms: number("min.compaction.lag.ms"),
            max_compaction_lag_ms: number("max.compaction.lag.ms"),
            delete_retention_ms: number("delete.retention.ms"),
            segment_index_bytes: number("segment.index.bytes") as u64,
            max_message_bytes: number("max.message.bytes") as usize,
            timestamp_type: match text("message.timestamp.type") {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: number("message.timestamp.after.max.ms"),
            index_interval_bytes: number("index.interval.bytes") as u64,
            flush_messages: number("flush.messages") as u64,
            flush_ms: number("flush.ms"),
            producer_expiration_ms: self.number("producer.id.expiration.ms"),
            compression: match text("compression.type") {
                "producer" => None,
                "uncompressed" => Some(Compression::None),
                name => Compression::from_name(name),
            },
        }
    }
}

/// Settings in hours or minutes count as milliseconds where a topic inherits them.
fn scaled(value: &str, factor: i64) -> String {
    match value.parse::<i64>() {
        Ok(number) if factor != 1 && number >= 0 => number.saturating_mul(factor).to_string(),
        _ => value.to_owned(),
    }
}

/// How IncrementalAlterConfigs changes a value; the numbers are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl Operation {
    /// The operation of that number.
    pub(crate) fn from_code(code: i8) -> Option<Self> {
        [Self::Set, Self::Delete, Self::Append, Self::Subtract]
            .get(usize::try_from(code).ok()?)
            .copied()
    }
}

/// Changes `values` and checks the outcome. `inherited` is what a list has if it is not set.
///
/// # Errors
/// A text for the user.
pub(crate) fn change(
    values: &mut Values,
    row: &Row,
    operation: Operation,
    value: Option<&str>,
    inherited: Option<&str>,
) -> Result<(), String> {
    let given = || value.ok_or_else(|| format!("the setting `{}` needs a value", row.name));
    let new = match operation {
        Operation::Delete => {
            values.remove(row.name);
            return Ok(());
        }
        Operation::Set => given()?.to_owned(),
        Operation::Append | Operation::Subtract if row.kind != Kind::List => {
            return Err(format!("`{}` is not a list: it can be set, not added to", row.name));
        }
        Operation::Append | Operation::Subtract => {
            let now = values.get(row.name).map(String::as_str).or(inherited).unwrap_or("");
            let mut items: Vec<&str> = now.split(',').filter(|item| !item.is_empty()).collect();
            for item in given()?.split(',').map(str::trim) {
                items.retain(|present| *present != item);
                if operation == Operation::Append {
                    items.push(item);
                }
            }
            items.join(",")
        }
    };
    row.check(&new)?;
    values.insert(row.name.to_owned(), new);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    fn topic_value(settings: &Settings, own: &Values, name: &str) -> (String, Source) {
        let all = settings.describe_topic(own);
        let found = all.iter().find(|described| described.row.name == name).unwrap();
        (found.value.clone().unwrap(), found.source)
    }

    #[test]
    fn a_topic_inherits_from_the_broker_and_its_own_value_wins() {
        let settings = Settings::new(&values(&[("log.retention.hours", "2")])).unwrap();
        let none = Values::new();
        let inherited = topic_value(&settings, &none, "retention.ms");
        assert_eq!(inherited, ("7200000".into(), Source::StaticBroker));
        let own = values(&[("retention.ms", "-1")]);
        assert_eq!(topic_value(&settings, &own, "retention.ms"), ("-1".into(), Source::Topic));
        assert_eq!(settings.log_config(&own).retention_ms, -1);
        assert_eq!(
            topic_value(&settings, &none, "segment.ms"),
            ("604800000".into(), Source::Default)
        );
    }

    #[test]
    fn kafkas_defaults_give_the_default_log_config() {
        let given = Settings::new(&Values::new()).unwrap().log_config(&Values::new());
        assert_eq!(format!("{given:?}"), format!("{:?}", LogConfig::default()));
    }

    #[test]
    fn lags_that_leave_no_time_to_compact_are_refused() {
        let settings =
            Settings::new(&values(&[("log.cleaner.min.compaction.lag.ms", "100")])).unwrap();
        assert_eq!(settings.check_topic(&values(&[("max.compaction.lag.ms", "100")])), Ok(()));
        let error = settings.check_topic(&values(&[("max.compaction.lag.ms", "99")])).unwrap_err();
        assert!(error.contains("(100)") && error.contains("(99)"), "{error}");
    }

    #[test]
    fn what_an_option_decides_is_refused_with_advice() {
        for (name, value, advice) in [
            ("listeners", "PLAINTEXT://:1", "--listen"),
            ("advertised.listeners", "PLAINTEXT://kafka:9092", "--advertise"),
            ("log.dirs", "/tmp", "--data-dir"),
            ("node.id", "7", "number 1"),
        ] {
            let error = Settings::new(&values(&[(name, value)])).unwrap_err();
            assert!(error.contains(advice), "{error}");
        }
        assert!(DECIDED_ELSEWHERE.iter().all(|(name, _)| table::broker(name).is_some()));
    }

    #[test]
    fn unknown_names_and_bad_values_are_refused() {
        assert!(Settings::new(&values(&[("log.retention.centuries", "2")])).is_err());
        assert!(Settings::new(&values(&[("num.partitions", "0")])).is_err());
        let row = table::topic("cleanup.policy").unwrap();
        let mut own = Values::new();
        change(&mut own, row, Operation::Append, Some("compact"), Some("delete")).unwrap();
        assert_eq!(own["cleanup.policy"], "delete,compact");
        change(&mut own, row, Operation::Subtract, Some("delete"), None).unwrap();
        assert_eq!(own["cleanup.policy"], "compact");
        assert!(change(&mut own, row, Operation::Set, Some("shred"), None).is_err());
        let row = table::topic("retention.ms").unwrap();
        assert!(change(&mut own, row, Operation::Append, Some("1"), None).is_err());
        assert!(change(&mut own, row, Operation::Set, Some("-2"), None).is_err());
    }
}
