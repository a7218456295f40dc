//! What the steps of a record's life cost here: `cargo run --release -p millstream-value
//! --example nanoseconds [part of a name]`. Each figure is the best of several rounds, for one record of 151 bytes.

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use millstream_value::json::{self, JsonText};
use millstream_value::{BinaryOp, Expr, InlineHost, Text, Value, access};

const RECORD: &str = r#"{"id":48151623,"device":"sensor-0042","temperature":21.57,"humidity":0.4821,"status":"ok","ts":1700000000123,"site":"Hall 7, north","battery":87,"ok":true}"#;

#[expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]
fn measure(name: &str, mut body: impl FnMut()) {
    // Short rounds, so that a busy neighbour spoils few of them.
    const TURNS: u32 = 2_000;
    if std::env::args().nth(1).is_some_and(|part| !name.contains(&*part)) {
        return;
    }
    let mut best = f64::MAX;
    for _ in 0..1_000 {
        let start = Instant::now();
        for _ in 0..TURNS {
            body();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(TURNS));
    }
    println!("{best:8.1} ns  {name}");
}

fn main() {
    println!("{} bytes", RECORD.len());
    let bytes = Bytes::from_static(RECORD.as_bytes());
    // Shared as in a batch of records, so that reference counts cost what they cost there.
    let arena = Bytes::from(RECORD.as_bytes().to_vec());
    let spaced = RECORD.replace(':', ": ").replace(",\"", ", \"");
    let beyond = RECORD.replace("Hall", "Halle \u{e4}");
    let host = InlineHost;
    let text = JsonText::check(arena.clone()).expect("it is JSON");
    let record = Value::Json(text.clone());
    let column = |name| Expr::column(Text::from(name));
    let filter = Expr::binary(BinaryOp::Gt, column("temperature"), Expr::constant(20));
    let two = Expr::and(
        filter.clone(),
        Expr::binary(BinaryOp::Eq, column("status"), Expr::constant("ok")),
    );
    let sum = Expr::binary(
        BinaryOp::Add,
        Expr::binary(BinaryOp::Mul, column("temperature"), Expr::constant(1.8)),
        Expr::constant(32),
    );
    let name = Text::from("fahrenheit");
    let mut out = Vec::with_capacity(1024);

    measure("check", || {
        black_box(json::check(black_box(&bytes)).unwrap());
    });
    measure("check, with a space after commas and colons", || {
        black_box(json::check(black_box(spaced.as_bytes())).unwrap());
    });
    measure("check, with a character beyond ASCII", || {
        black_box(json::check(black_box(beyond.as_bytes())).unwrap());
    });
    measure("check and keep (shared bytes)", || {
        black_box(JsonText::check(black_box(&arena).clone()).unwrap());
    });
    measure("find one field", || {
        black_box(text.get().field(black_box("temperature")));
    });
    measure("filter: temperature > 20", || {
        black_box(filter.evaluate_native(black_box(&record), &host).unwrap());
    });
    measure("filter: temperature > 20 and status == \"ok\"", || {
        black_box(two.evaluate_native(black_box(&record), &host).unwrap());
    });
    measure("expression: temperature * 1.8 + 32", || {
        black_box(sum.evaluate_native(black_box(&record), &host).unwrap());
    });
    // As the first reader of a record has it; a shared one has no note of its fields.
    let noted = Value::Json(JsonText::check(arena.clone()).expect("it is JSON"));
    measure("filter, the fields noted by the check", || {
        black_box(filter.evaluate_native(black_box(&noted), &host).unwrap());
    });
    measure("expression, the fields noted by the check", || {
        black_box(sum.evaluate_native(black_box(&noted), &host).unwrap());
    });
    measure("decode to a map", || {
        black_box(text.get().decode());
    });
    let decoded = text.get().decode();
    measure("write the map", || {
        out.clear();
        json::write(black_box(&decoded), &mut out).unwrap();
        black_box(&out);
    });
    measure("assign a constant, write", || {
        let mut value = record.share();
        access::assign(&mut value, &name, Value::Float(70.8)).unwrap();
        out.clear();
        json::write(&value, &mut out).unwrap();
        black_box(&out);
    });
    measure("check, filter, assign the expression, write", || {
        let mut value = Value::Json(JsonText::check(arena.clone()).unwrap());
        if filter.evaluate_native(&value, &host).unwrap().as_bool() == Some(true) {
            let new = sum.evaluate_native(&value, &host).unwrap();
            access::assign(&mut value, &name, new).unwrap();
        }
        out.clear();
        json::write(&value, &mut out).unwrap();
        black_box(&out);
    });
}
