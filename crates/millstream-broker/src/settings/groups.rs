//! Settings of the groups of KIP-848, and how they must fit together.

use std::time::Duration;

use super::Settings;
use crate::consumer_group::{Assignor, ConsumerGroupSettings};

const PROTOCOLS: &str = "group.coordinator.rebalance.protocols";

impl Settings {
    /// Whether groups of KIP-848 are served.
    pub(crate) fn serves_consumer_groups(&self) -> bool {
        names(self, PROTOCOLS).any(|name| name.eq_ignore_ascii_case("consumer"))
    }

    /// What those groups obey.
    ///
    /// # Errors
    /// A text for the user if settings do not fit together; the start has checked that they do.
    pub(crate) fn consumer_groups(&self) -> Result<ConsumerGroupSettings, String> {
        let session = self.bounded("session.timeout.ms")?;
        let interval = self.bounded("heartbeat.interval.ms")?;
        if interval >= session {
            return Err(format!(
                "`group.consumer.heartbeat.interval.ms` ({interval}) must be less than \
                 `group.consumer.session.timeout.ms` ({session})"
            ));
        }
        let assignors: Vec<Assignor> =
            names(self, "group.consumer.assignors").map(assignor).collect::<Result<_, _>>()?;
        if assignors.is_empty() {
            return Err("`group.consumer.assignors` must name an assignor".to_owned());
        }
        Ok(ConsumerGroupSettings {
            session_timeout: Duration::from_millis(session),
            heartbeat_interval: Duration::from_millis(interval),
            max_size: usize::try_from(self.number("group.consumer.max.size")).unwrap_or(0),
            assignors,
        })
    }

    /// A time in milliseconds that has a least and a greatest value.
    fn bounded(&self, name: &str) -> Result<u64, String> {
        let of = |prefix: &str| self.number(&format!("group.consumer.{prefix}{name}"));
        let (least, value, most) = (of("min."), of(""), of("max."));
        if least <= value && value <= most {
            return Ok(value.unsigned_abs());
        }
        Err(format!(
            "`group.consumer.{name}` ({value}) must be within `group.consumer.min.{name}` \
             ({least}) and `group.consumer.max.{name}` ({most})"
        ))
    }
}

/// Checks what the table of settings cannot.
///
/// # Errors
/// A text for the user.
pub(super) fn check(settings: &Settings) -> Result<(), String> {
    if !names(settings, PROTOCOLS).any(|name| name.eq_ignore_ascii_case("classic")) {
        return Err(format!("`{PROTOCOLS}` must name `classic`, as in Apache Kafka"));
    }
    settings.consumer_groups().map(drop)
}

/// Kafka takes the names of its classes as well.
fn assignor(name: &str) -> Result<Assignor, String> {
    let short = match name {
        "org.apache.kafka.coordinator.group.assignor.UniformAssignor" => "uniform",
        "org.apache.kafka.coordinator.group.assignor.RangeAssignor" => "range",
        name => name,
    };
    Assignor::from_name(short).ok_or_else(|| {
        format!("`group.consumer.assignors` names `{name}`; there is uniform and range")
    })
}

fn names<'a>(settings: &'a Settings, setting: &str) -> impl Iterator<Item = &'a str> {
    let text = settings.text(setting).unwrap_or_default();
    text.split(',').map(str::trim).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Values;

    fn with(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        let values: Values = pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        Settings::new(&values)
    }

    #[test]
    fn kafkas_defaults() {
        let settings = with(&[]).unwrap();
        assert!(settings.serves_consumer_groups());
        let groups = settings.consumer_groups().unwrap();
        assert_eq!(groups.session_timeout, Duration::from_secs(45));
        assert_eq!(groups.heartbeat_interval, Duration::from_secs(5));
        assert_eq!(groups.max_size, i32::MAX as usize);
        assert_eq!(groups.assignors, [Assignor::Uniform, Assignor::Range]);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (name, value, says) in [
            ("group.consumer.session.timeout.ms", "44999", "min.session.timeout.ms"),
            ("group.consumer.session.timeout.ms", "60001", "max.session.timeout.ms"),
            ("group.consumer.heartbeat.interval.ms", "15001", "max.heartbeat.interval.ms"),
            ("group.consumer.assignors", "uniform,mine", "mine"),
            ("group.consumer.assignors", "", "must name"),
            ("group.coordinator.rebalance.protocols", "consumer", "must name `classic`"),
        ] {
            let error = with(&[(name, value)]).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let short = [
            ("group.consumer.min.session.timeout.ms", "5000"),
            ("group.consumer.session.timeout.ms", "5000"),
        ];
        assert!(with(&short).unwrap_err().contains("must be less"));
        let class = "org.apache.kafka.coordinator.group.assignor.RangeAssignor";
        let settings = with(&[("group.consumer.assignors", class)]).unwrap();
        assert_eq!(settings.consumer_groups().unwrap().assignors, [Assignor::Range]);
        let classic = [("group.coordinator.rebalance.protocols", "classic")];
        assert!(!with(&classic).unwrap().serves_consumer_groups());
    }
}
