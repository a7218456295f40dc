use millstream_value::json::{self, JsonText};
use millstream_value::{BinaryOp, Expr, Failure, FailureKind, InlineHost, Value, repr};
use serde_json::Value as Case;

fn cases() -> Case {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/differential/cases.json");
    let text = std::fs::read_to_string(path).expect("the cases are part of the repository");
    serde_json::from_str(&text).expect("the cases are JSON")
}

fn texts(case: &Case) -> Vec<&str> {
    case.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

const OPERATORS: &[(&str, BinaryOp)] = &[
    ("+", BinaryOp::Add),
    ("-", BinaryOp::Sub),
    ("*", BinaryOp::Mul),
    ("/", BinaryOp::Div),
    ("%", BinaryOp::Mod),
    ("//", BinaryOp::FloorDiv),
    ("**", BinaryOp::Pow),
    ("==", BinaryOp::Eq),
    ("!=", BinaryOp::Ne),
    ("<", BinaryOp::Lt),
    ("<=", BinaryOp::Le),
    (">", BinaryOp::Gt),
    (">=", BinaryOp::Ge),
    ("in", BinaryOp::In),
    ("is", BinaryOp::Is),
];

fn operator(word: &str) -> Option<BinaryOp> {
    OPERATORS.iter().find(|(symbol, _)| *symbol == word).map(|(_, op)| *op)
}

fn value(text: &str) -> Value {
    Value::json(text.to_owned()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The expression of a tree, as `expression_trees.py` describes them.
fn build(tree: &Case) -> Expr {
    let constant = || Expr::constant(value(&tree.to_string()));
    let Some([Case::String(word), parts @ ..]) = tree.as_array().map(Vec::as_slice) else {
        return constant();
    };
    let part = |at: usize| build(&parts[at]);
    match &**word {
        "column" => Expr::column(parts[0].as_str().unwrap()),
        "has" => {
            let keys = parts[0].as_array().unwrap();
            Expr::has_keys(keys.iter().map(|key| value(&key.to_string())).collect())
        }
        "index" => Expr::index(part(0), part(1)),
        "and" => Expr::and(part(0), part(1)),
        "or" => Expr::or(part(0), part(1)),
        "not" => Expr::not(part(0)),
        "abs" => Expr::abs(part(0)),
        "neg" => Expr::neg(part(0)),
        "isnull" => Expr::is_null(part(0)),
        "notnull" => Expr::not_null(part(0)),
        "isin" => Expr::is_in(part(0), part(1)),
        "notin" => Expr::not_in(part(0), part(1)),
        "contains" => Expr::contains(part(0), part(1)),
        "isnot" => Expr::is_not(part(0), part(1)),
        word => match operator(word) {
            Some(op) => Expr::binary(op, part(0), part(1)),
            None => constant(),
        },
    }
}

/// An outcome as the cases spell it.
fn outcome(result: Result<Value, Failure>) -> String {
    let failure = match result {
        Ok(value) => return format!("= {}", repr(&value)),
        Err(failure) => failure,
    };
    let name = match failure.kind {
        FailureKind::Type => "TypeError",
        FailureKind::Value => "ValueError",
        FailureKind::Key => "KeyError",
        FailureKind::Index => "IndexError",
        FailureKind::ZeroDivision => "ZeroDivisionError",
        FailureKind::Overflow => "OverflowError",
        FailureKind::ColumnDoesNotExist => "ColumnDoesNotExist",
        FailureKind::InvalidColumnReference => "InvalidColumnReference",
        other => panic!("no expression fails with {other:?}: {failure}"),
    };
    format!("! {name}: {}", failure.message)
}

/// Whether an outcome of ours is the expected one.
fn agrees(expected: &str, actual: &str) -> bool {
    if expected.starts_with('~') {
        return actual.starts_with("! OverflowError: the result of");
    }
    // The wording of these two is ours; the kind and the column are the same.
    for kind in ["! ColumnDoesNotExist: ", "! InvalidColumnReference: "] {
        if expected.starts_with(kind) {
            let column = expected.trim_start_matches(kind);
            return actual.starts_with(kind) && actual.contains(column);
        }
    }
    expected == actual
}

/// The record undecoded, decoded one level deep, and all the way.
fn forms(record: &str) -> [Value; 3] {
    let mut forms = [value(record), value(record), value(record)];
    forms[1].decode();
    forms[2].decode_deep();
    forms
}

/// Evaluates on every form of the record and collects what differs from the expected outcome.
fn compare(record: &str, expr: &Expr, expected: &str, wrong: &mut Vec<String>) {
    if expected == "?" {
        return;
    }
    for form in forms(record) {
        let actual = outcome(expr.evaluate_native(&form, &InlineHost));
        if !agrees(expected, &actual) {
            wrong.push(format!("{expr:?} of {form:?}\n  expected {expected}\n  but got  {actual}"));
        }
    }
}

#[track_caller]
fn report(count: usize, wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(40)].join("\n")
    );
}

/// S-03, S-04, S-07 to S-09.
#[test]
fn operators_on_pairs_of_values() {
    let cases = cases();
    let (values, outcomes) = (texts(&cases["values"]), texts(&cases["outcomes"]));
    let (mut count, mut wrong) = (0, Vec::new());
    for (symbol, op) in OPERATORS {
        let expr = Expr::binary(*op, Expr::column("x"), Expr::column("y"));
        for (i, x) in values.iter().enumerate() {
            for (j, y) in values.iter().enumerate() {
                let number = cases["binary"][symbol][i][j].as_u64().unwrap() as usize;
                let record = format!(r#"{{"x":{x},"y":{y}}}"#);
                compare(&record, &expr, outcomes[number], &mut wrong);
                count += 1;
            }
        }
    }
    assert!(count > 10_000);
    report(count, &wrong);
}

/// S-01 to S-11, D-36.
#[test]
fn expressions_on_records() {
    let cases = cases();
    let (records, outcomes) = (texts(&cases["records"]), texts(&cases["outcomes"]));
    let mut wrong = Vec::new();
    let trees = cases["trees"].as_array().unwrap();
    for case in trees {
        let record = records[case[0].as_u64().unwrap() as usize];
        let expected = outcomes[case[2].as_u64().unwrap() as usize];
        compare(record, &build(&case[1]), expected, &mut wrong);
    }
    assert!(trees.len() > 1000);
    report(trees.len(), &wrong);
}

/// T-44, T-45: what is refused, and what comes out when the rest is read and written again.
#[test]
fn json_texts() {
    let cases = cases();
    let texts = cases["texts"].as_array().unwrap();
    let mut wrong = Vec::new();
    for case in texts {
        let bytes: Vec<u8> = case[0].as_str().unwrap().chars().map(|char| char as u8).collect();
        let actual = JsonText::check(bytes.clone().into()).map(|text| {
            let mut out = Vec::new();
            json::write(&text.get().decode_deep(), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        });
        if actual.as_deref().ok() != case[1].as_str() {
            let text = String::from_utf8_lossy(&bytes);
            wrong.push(format!("{text}\n  expected {}\n  but got  {actual:?}", case[1]));
        }
    }
    report(texts.len(), &wrong);
}

/// T-44.
#[test]
fn floats_are_spelled_as_orjson_and_python_spell_them() {
    let cases = cases();
    let floats = cases["floats"].as_array().unwrap();
    let mut wrong = Vec::new();
    for case in floats {
        let (python, orjson) = (case[0].as_str().unwrap(), case[1].as_str().unwrap());
        let float: f64 = python.parse().unwrap();
        let mut out = Vec::new();
        json::write_float(float, &mut out);
        if out != orjson.as_bytes() || repr(&Value::Float(float)) != python {
            let out = String::from_utf8_lossy(&out);
            wrong.push(format!("{python}, {orjson}: {}, {out}", repr(&Value::Float(float))));
        }
    }
    report(floats.len(), &wrong);
}
