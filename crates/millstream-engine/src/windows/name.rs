//! Names of window stores, and the checks of a definition's numbers.

use crate::TopologyError;
use crate::spec::{Aggregations, WindowDefinition};

/// Name of the store (W-09): the window's own name, its kind and lengths (not its grace), and
/// the function of a shortcut.
pub(crate) fn store_name(
    name: Option<&str>,
    definition: &WindowDefinition,
    aggregations: &Aggregations,
) -> String {
    let kind = match definition {
        WindowDefinition::Tumbling { duration_ms, .. } => format!("tumbling_window_{duration_ms}"),
        WindowDefinition::Hopping { duration_ms, step_ms, .. } => {
            format!("hopping_window_{duration_ms}_{step_ms}")
        }
        WindowDefinition::Sliding { duration_ms, .. } => format!("sliding_window_{duration_ms}"),
        WindowDefinition::Session { inactivity_gap_ms, .. } => {
            format!("session_window_{inactivity_gap_ms}")
        }
        WindowDefinition::TumblingCount { .. } => "tumbling_count_window".to_owned(),
        WindowDefinition::HoppingCount { .. } => "hopping_count_window".to_owned(),
        WindowDefinition::SlidingCount { .. } => "sliding_count_window".to_owned(),
    };
    let prefix = name.map_or(String::new(), |name| format!("{name}_"));
    match aggregations {
        Aggregations::Shortcut(aggregation) => format!("{prefix}{kind}_{}", aggregation.shortcut()),
        Aggregations::Columns(_) => format!("{prefix}{kind}"),
    }
}

/// Checks a definition's numbers (W-08), and that it is of a kind that runs yet.
pub(crate) fn check(definition: &WindowDefinition) -> Result<(), TopologyError> {
    let value = |text: String| Err(TopologyError::Value(text));
    let positive = |name: &str, ms: i64| match ms {
        1.. => Ok(()),
        _ => value(format!("{name} must be at least 1 ms, but it is {ms}")),
    };
    let grace = |ms: i64| match ms {
        0.. => Ok(()),
        _ => value(format!("grace_ms must not be negative, but it is {ms}")),
    };
    let count_of = |count: i64, step: i64| match (count, step) {
        (2.., 1..) => Ok(()),
        (2.., _) => value(format!("step must be at least 1, but it is {step}")),
        _ => value(format!("count must be at least 2, but it is {count}")),
    };
    let kind = match *definition {
        WindowDefinition::Tumbling { duration_ms, grace_ms } => {
            positive("duration_ms", duration_ms)?;
            return grace(grace_ms);
        }
        WindowDefinition::Hopping { duration_ms, step_ms, grace_ms } => {
            positive("duration_ms", duration_ms)?;
            grace(grace_ms)?;
            if step_ms < 1 || step_ms >= duration_ms {
                return value(format!(
                    "step_ms must lie between 0 and duration_ms ({duration_ms}), but it is {step_ms}"
                ));
            }
            "a hopping window"
        }
        WindowDefinition::Sliding { duration_ms, grace_ms } => {
            positive("duration_ms", duration_ms)?;
            grace(grace_ms)?;
            "a sliding window"
        }
        WindowDefinition::Session { inactivity_gap_ms, grace_ms } => {
            positive("inactivity_gap_ms", inactivity_gap_ms)?;
            grace(grace_ms)?;
            "a session window"
        }
        WindowDefinition::TumblingCount { count } => {
            count_of(count, 1)?;
            "a count window"
        }
        WindowDefinition::HoppingCount { count, step } => {
            count_of(count, step)?;
            "a count window"
        }
        WindowDefinition::SlidingCount { count } => {
            count_of(count, 1)?;
            "a count window"
        }
    };
    Err(TopologyError::NotSupportedYet(kind.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Aggregation;

    /// W-09
    #[test]
    fn w_09_store_names() {
        let tumbling = WindowDefinition::Tumbling { duration_ms: 60_000, grace_ms: 5 };
        let sum = Aggregations::Shortcut(Aggregation::Sum(None));
        let agg = Aggregations::Columns(vec![("n".to_owned(), Aggregation::Count(None))]);
        assert_eq!(store_name(None, &tumbling, &sum), "tumbling_window_60000_sum");
        assert_eq!(store_name(Some("big"), &tumbling, &agg), "big_tumbling_window_60000");
        let hopping = WindowDefinition::Hopping { duration_ms: 10, step_ms: 5, grace_ms: 0 };
        assert_eq!(store_name(None, &hopping, &agg), "hopping_window_10_5");
    }

    /// W-08
    #[test]
    fn w_08_argument_checks() {
        let tumbling = |duration_ms, grace_ms| WindowDefinition::Tumbling { duration_ms, grace_ms };
        assert_eq!(check(&tumbling(1, 0)), Ok(()));
        assert!(matches!(check(&tumbling(0, 0)), Err(TopologyError::Value(_))));
        assert!(matches!(check(&tumbling(1, -1)), Err(TopologyError::Value(_))));
        let hopping = |step_ms| WindowDefinition::Hopping { duration_ms: 10, step_ms, grace_ms: 0 };
        assert!(matches!(check(&hopping(10)), Err(TopologyError::Value(_))));
        assert!(matches!(check(&hopping(5)), Err(TopologyError::NotSupportedYet(_))));
        let count = WindowDefinition::TumblingCount { count: 1 };
        assert!(matches!(check(&count), Err(TopologyError::Value(_))));
    }
}
