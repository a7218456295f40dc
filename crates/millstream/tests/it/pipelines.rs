//! Pipelines from topic to topic.

use std::time::Duration;

use millstream::{
    Aggregation, Application, Failure, FailureKind, StopReason, Value, col, function, stateful,
};

use crate::broker::{Broker, Found, Place, on_both_brokers, run_until_quiet};

on_both_brokers!(
    windows_over_regrouped_records,
    functions_filter_and_change_values,
    state_goes_on_after_a_restart,
);

const SECOND: Duration = Duration::from_secs(1);

/// The example at the head of the crate, with numbers that can be counted by hand.
fn windows_over_regrouped_records(place: &Place) {
    let broker = Broker::start(place);
    let (input, output) = (broker.topic("flights", 2), broker.topic("delays", 1));
    let flight = |origin: &str, delay: &str| format!(r#"{{"origin":"{origin}","delay":{delay}}}"#);
    let lines = [
        (0, "AA", flight("JFK", "10"), 1_000),
        (1, "BB", flight("JFK", "20"), 1_500),
        (0, "AA", flight("JFK", "null"), 1_600),
        (1, "BB", flight("LGA", "-4"), 1_700),
        (0, "AA", flight("JFK", "40"), 2_100),
        // These close what stands before them; nothing closes theirs.
        (0, "AA", flight("JFK", "1"), 9_000),
        (1, "BB", flight("LGA", "1"), 9_000),
    ];
    let records: Vec<_> =
        lines.iter().map(|(at, key, value, time)| (*at, *key, value.as_str(), *time)).collect();
    broker.produce(&input, &records);

    let app = broker.application().build().expect("an application");
    let delay = || Some("delay".to_owned());
    app.dataframe(&app.topic(&input))
        .and_then(|flights| flights.filter(col("delay").not_null()))
        .and_then(|flights| flights.assign("late", col("delay").gt(15)))
        .and_then(|flights| flights.group_by("origin"))
        .and_then(|flights| {
            flights
                .tumbling_window(SECOND, SECOND)
                .agg([
                    ("flights", Aggregation::Count(None)),
                    ("mean", Aggregation::Mean(delay())),
                    ("worst", Aggregation::Max(delay())),
                    ("late", Aggregation::Sum(Some("late".to_owned()))),
                ])
                .last()
        })
        .and_then(|hours| hours.to_topic(&app.topic(&output).keys("json")?))
        .expect("a pipeline");
    let report = run_until_quiet(&app);

    assert_eq!(report.reason, StopReason::Timeout);
    let mut found = broker.read(&output);
    found.sort_by(|a, b| (&a.key, a.timestamp).cmp(&(&b.key, b.timestamp)));
    let window = |key: &str, start: i64, rest: &str| Found {
        partition: 0,
        key: key.to_owned(),
        value: format!(r#"{{{rest},"start":{start},"end":{}}}"#, start + 1_000),
        timestamp: start,
    };
    let compact: Vec<Found> = found
        .into_iter()
        .map(|record| Found { value: record.value.replace(' ', ""), ..record })
        .collect();
    assert_eq!(
        compact,
        [
            window("\"JFK\"", 1_000, r#""flights":2,"mean":15.0,"worst":20,"late":1"#),
            window("\"JFK\"", 2_000, r#""flights":1,"mean":40.0,"worst":40,"late":1"#),
            window("\"LGA\"", 1_000, r#""flights":1,"mean":-4.0,"worst":-4,"late":0"#),
        ]
    );
}

/// The value, which must be an integer.
pub(crate) fn number(value: &mut Value) -> Result<i64, Failure> {
    value.decode();
    match value {
        Value::Int(number) => Ok(*number),
        other => Err(Failure::new(FailureKind::Type, format!("no number: {}", other.type_name()))),
    }
}

/// `filter_by`, `apply`, `expand`, `update`, and two branches of one dataframe.
fn functions_filter_and_change_values(place: &Place) {
    let broker = Broker::start(place);
    let input = broker.topic("numbers", 1);
    let (even, both) = (broker.topic("even", 1), broker.topic("both", 1));
    broker
        .produce(&input, &[(0, "a", "1", 1), (0, "b", "2", 2), (0, "c", "3", 3), (0, "d", "4", 4)]);

    let app = broker.application().build().expect("an application");
    let numbers = app.dataframe(&app.topic(&input)).expect("a dataframe");
    let is_even = function("is_even", |value| Ok(Value::Bool(number(value)? % 2 == 0)));
    let tenfold = function("tenfold", |value| Ok(Value::Int(number(value)? * 10)));
    let (seen_by_update, seen) = std::sync::mpsc::channel();
    let look = function("look", move |value| {
        seen_by_update.send(number(value)?).expect("somebody listens");
        Ok(Value::Null)
    });
    numbers
        .filter_by(is_even)
        .and_then(|even| even.apply(tenfold))
        .and_then(|even| even.update(look))
        .and_then(|sdf| sdf.to_topic(&app.topic(&even)))
        .expect("the first branch");
    let twice = function("twice", |value| {
        let n = number(value)?;
        Ok(Value::List(vec![Value::Int(n), Value::Int(-n)]))
    });
    numbers
        .expand(twice)
        .and_then(|sdf| sdf.to_topic(&app.topic(&both)))
        .expect("the second branch");
    let report = run_until_quiet(&app);

    assert_eq!((report.records, report.outputs), (4, 2 + 8));
    assert_eq!(broker.values(&even), ["20", "40"]);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [20, 40]);
    assert_eq!(broker.values(&both), ["1", "-1", "2", "-2", "3", "-3", "4", "-4"]);
    let keys: Vec<_> = broker.read(&even).into_iter().map(|record| record.key).collect();
    assert_eq!(keys, ["b", "d"]);
}

/// A count in the state of each key, in two runs of the program, the second without local state.
fn state_goes_on_after_a_restart(place: &Place) {
    let broker = Broker::start(place);
    let (input, output) = (broker.topic("in", 1), broker.topic("counts", 1));
    let count_in = |directory: &str| -> Application {
        let directory = broker.dir.path().join(directory);
        let app = broker.application().state_dir(directory).build().expect("an application");
        let count = stateful("count", |_, state| {
            let before = state.get(b"n")?.map_or(0, |bytes| bytes[0]);
            state.set(b"n", &[before + 1])?;
            Ok(Value::Int(i64::from(before) + 1))
        });
        app.dataframe(&app.topic(&input))
            .and_then(|sdf| sdf.apply(count))
            .and_then(|sdf| sdf.to_topic(&app.topic(&output)))
            .expect("a pipeline");
        app
    };
    broker.produce(&input, &[(0, "a", "0", 1), (0, "b", "0", 2), (0, "a", "0", 3)]);
    run_until_quiet(&count_in("one"));
    assert_eq!(broker.values(&output), ["1", "1", "2"]);
    broker.produce(&input, &[(0, "a", "0", 4), (0, "b", "0", 5)]);
    run_until_quiet(&count_in("two"));
    assert_eq!(broker.values(&output), ["1", "1", "2", "3", "2"]);
}
