//! Each aggregation by itself; over streams of records they are compared with a slow twin in
//! `tests/it/windows.rs`.

use millstream_value::{InlineHost, repr};

use super::*;

fn run(aggregation: &Aggregation, inputs: &[(i64, Value)]) -> String {
    let (aggregate, _) = build(aggregation);
    let mut state = aggregate.initialize().expect("built-ins start");
    for (timestamp, value) in inputs {
        let update = aggregate.update(&mut state, value.share(), *timestamp, &InlineHost);
        update.expect("these values fit");
        // What a checkpoint would do in between changes nothing.
        let mut bytes = Vec::new();
        state.encode(&mut bytes);
        state = Accumulator::decode(&mut Reader::new(&bytes)).expect("it was just written");
    }
    repr(&aggregate.result(&state, &InlineHost).expect("built-ins have a result"))
}

/// W-26: of equal values the one processed first stays.
#[test]
fn w_26_equal_values() {
    let inputs = [(0, Value::from(1)), (1, Value::from(1.0)), (2, Value::Bool(true))];
    assert_eq!(run(&Aggregation::Min(None), &inputs), "1");
    assert_eq!(run(&Aggregation::Max(None), &inputs), "1");
}

/// W-27: ties of Earliest keep the first, ties of Latest take the last.
#[test]
fn w_27_ties() {
    let inputs = [(5, Value::from("a")), (5, Value::from("b")), (4, Value::Null)];
    assert_eq!(run(&Aggregation::Earliest(None), &inputs), "'a'");
    assert_eq!(run(&Aggregation::Latest(None), &inputs), "'b'");
    assert_eq!(run(&Aggregation::First(None), &inputs), "'a'");
    assert_eq!(run(&Aggregation::Last(None), &inputs), "'b'");
}

/// W-26: of nothing.
#[test]
fn w_26_nothing() {
    for (aggregation, result) in [
        (Aggregation::Count(None), "0"),
        (Aggregation::Sum(None), "0"),
        (Aggregation::Mean(None), "None"),
        (Aggregation::Min(None), "None"),
        (Aggregation::Latest(None), "None"),
    ] {
        assert_eq!(run(&aggregation, &[(0, Value::Null)]), result);
    }
}

/// W-30, W-32: texts have no sum, and bytes cannot be kept; the state is as it was.
#[test]
fn w_30_wrong_types_change_nothing() {
    let bytes = Value::Bytes(bytes::Bytes::from_static(b"x"));
    for (aggregation, value) in [
        (Aggregation::Sum(None), Value::from("x")),
        (Aggregation::Mean(None), Value::from("x")),
        (Aggregation::Min(None), Value::from("x")),
        (Aggregation::Last(None), bytes.share()),
        (Aggregation::Latest(None), bytes),
    ] {
        let (aggregate, _) = build(&aggregation);
        let mut state = aggregate.initialize().expect("built-ins start");
        aggregate.update(&mut state, Value::from(3), 0, &InlineHost).expect("a number fits");
        let before = repr(&state.raw());
        assert!(aggregate.update(&mut state, value, 1, &InlineHost).is_err());
        assert_eq!(repr(&state.raw()), before);
    }
}
