//! The two tables of settings, read once from the text files beside this one.

use std::sync::LazyLock;

/// A setting's type; the numbers are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub(crate) enum Kind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

/// One setting.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: Option<&'static str>,
    /// `0..`, `1..9 -1`, `a|b|c`, or nothing.
    allowed: &'static str,
    /// For a broker's setting: whether it can be changed while the broker runs.
    pub(crate) dynamic: bool,
    /// For a topic's: the broker settings it inherits from, each with a factor to milliseconds.
    pub(crate) synonyms: Vec<(&'static str, i64)>,
}

impl Row {
    /// Checks a value.
    ///
    /// # Errors
    /// A text for the user.
    pub(crate) fn check(&self, value: &str) -> Result<(), String> {
        let fine = match self.kind {
            Kind::Boolean => ["true", "false"].iter().any(|word| value.eq_ignore_ascii_case(word)),
            Kind::Short => value.parse::<i16>().is_ok() && self.in_range(value),
            Kind::Int => value.parse::<i32>().is_ok() && self.in_range(value),
            Kind::Long => value.parse::<i64>().is_ok() && self.in_range(value),
            Kind::Double => value.parse::<f64>().is_ok() && self.in_range(value),
            Kind::List => value.split(',').all(|item| self.is_listed(item.trim())),
            Kind::String => self.is_listed(value),
            Kind::Class | Kind::Password => true,
        };
        if fine {
            return Ok(());
        }
        let allowed = match self.allowed {
            "" => format!("it must be a {:?}", self.kind).to_lowercase(),
            allowed => format!("allowed: {allowed}"),
        };
        Err(format!("invalid value `{value}` for the setting `{}`; {allowed}", self.name))
    }

    fn in_range(&self, value: &str) -> bool {
        let Ok(value) = value.parse::<f64>() else { return false };
        self.allowed.is_empty()
            || self.allowed.split(' ').any(|range| match range.split_once("..") {
                Some((from, to)) => {
                    from.parse::<f64>().is_ok_and(|from| value >= from)
                        && (to.is_empty() || to.parse::<f64>().is_ok_and(|to| value <= to))
                }
                None => range.parse::<f64>().is_ok_and(|only| value == only),
            })
    }

    fn is_listed(&self, value: &str) -> bool {
        self.allowed.is_empty()
            || (value.is_empty() && self.kind == Kind::List)
            || self.allowed.split('|').any(|word| word.eq_ignore_ascii_case(value))
    }
}

static BROKER: LazyLock<Vec<Row>> = LazyLock::new(|| parse(include_str!("broker.tsv")));
static TOPIC: LazyLock<Vec<Row>> = LazyLock::new(|| parse(include_str!("topic.tsv")));

/// Every broker setting, by name.
pub(crate) fn all_broker() -> &'static [Row] {
    &BROKER
}

/// Every topic setting, by name.
pub(crate) fn all_topic() -> &'static [Row] {
    &TOPIC
}

/// The broker setting of that name.
pub(crate) fn broker(name: &str) -> Option<&'static Row> {
    find(&BROKER, name)
}

/// The topic setting of that name.
pub(crate) fn topic(name: &str) -> Option<&'static Row> {
    find(&TOPIC, name)
}

fn find(rows: &'static [Row], name: &str) -> Option<&'static Row> {
    rows.binary_search_by(|row| row.name.cmp(name)).ok().map(|at| &rows[at])
}

fn parse(text: &'static str) -> Vec<Row> {
    let absent = |field: &'static str| if field == "-" { "" } else { field };
    let mut rows: Vec<Row> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [name, kind, default, allowed, last] = fields[..] else {
                panic!("the table has five columns: {line}")
            };
            Row {
                name,
                kind: kind_of(kind),
                default: match default {
                    "-" => None,
                    "\"\"" => Some(""),
                    value => Some(value),
                },
                allowed: absent(allowed),
                dynamic: last == "rw",
                synonyms: match last {
                    "rw" | "ro" | "-" => Vec::new(),
                    names => names.split(',').map(|name| (name, factor_of(name))).collect(),
                },
            }
        })
        .collect();
    rows.sort_by_key(|row| row.name);
    rows
}

fn kind_of(name: &str) -> Kind {
    match name {
        "boolean" => Kind::Boolean,
        "string" => Kind::String,
        "int" => Kind::Int,
        "short" => Kind::Short,
        "long" => Kind::Long,
        "double" => Kind::Double,
        "list" => Kind::List,
        "class" => Kind::Class,
        "password" => Kind::Password,
        other => panic!("the table names the type {other}"),
    }
}

fn factor_of(name: &str) -> i64 {
    if name.ends_with(".hours") {
        3_600_000
    } else if name.ends_with(".minutes") {
        60_000
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_passes_its_own_check() {
        assert_eq!((all_broker().len(), all_topic().len()), (340, 33));
        for row in all_broker().iter().chain(all_topic()) {
            if let Some(default) = row.default {
                // Kafka's own default of these lists is empty where its check wants an element.
                assert_eq!(row.check(default), Ok(()), "{}", row.name);
            }
            for (name, _) in &row.synonyms {
                assert!(broker(name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn ranges_and_words() {
        let gzip = topic("compression.gzip.level").unwrap();
        assert!(gzip.check("-1").is_ok() && gzip.check("9").is_ok());
        assert!(gzip.check("0").is_err() && gzip.check("ten").is_err());
        assert!(topic("compression.type").unwrap().check("brotli").is_err());
        assert!(topic("min.cleanable.dirty.ratio").unwrap().check("1.5").is_err());
    }
}
