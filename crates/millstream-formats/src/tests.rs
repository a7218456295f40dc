use bytes::Bytes;
use millstream_value::{
    Deserialized, FailureKind, Headers, Map, MessageField, SerializationContext, Serialized, Value,
    repr,
};

use crate::{
    Codec, StringDeserializer, StringSerializer, deserializer_by_name, serializer_by_name,
};

fn context(headers: &Headers) -> SerializationContext<'_> {
    SerializationContext { topic: "t", field: MessageField::Value, headers }
}

/// What the serializer of that name makes of a value, or the message of its error.
fn write(name: &str, value: impl Into<Value>) -> Result<Option<Vec<u8>>, String> {
    write_with(&*serializer_by_name(name).expect("a known name"), value)
}

fn write_with(
    serializer: &dyn millstream_value::Serializer,
    value: impl Into<Value>,
) -> Result<Option<Vec<u8>>, String> {
    let mut out = b"before".to_vec();
    match serializer.serialize(&mut value.into(), &context(&Headers::none()), &mut out) {
        Ok(Serialized::Bytes) => Ok(Some(out.strip_prefix(b"before").unwrap().to_vec())),
        Ok(Serialized::Null) => {
            assert_eq!(out, b"before");
            Ok(None)
        }
        Err(failure) => {
            assert_eq!(failure.kind, FailureKind::Serialization);
            assert_eq!(out, b"before", "a failed value leaves nothing behind");
            Err(failure.message)
        }
    }
}

fn read(name: &str, bytes: &'static [u8]) -> Result<String, String> {
    read_with(&*deserializer_by_name(name).expect("a known name"), bytes)
}

fn read_with(
    deserializer: &dyn millstream_value::Deserializer,
    bytes: &'static [u8],
) -> Result<String, String> {
    match deserializer.deserialize(Bytes::from_static(bytes), &context(&Headers::none())) {
        Ok(Deserialized::One(value)) => Ok(repr(&value)),
        Ok(other) => panic!("one value in, {other:?} out"),
        Err(failure) => {
            assert_eq!(failure.kind, FailureKind::Serialization);
            Err(failure.message)
        }
    }
}

#[test]
fn t40_text_in_three_codecs() {
    assert_eq!(write("str", "é€"), Ok(Some("é€".into())));
    assert_eq!(read("string", "é€".as_bytes()), Ok("'é€'".into()));
    assert_eq!(write("str", Value::Null), Ok(None));
    assert!(write("str", 5).unwrap_err().contains("'int'"));
    assert!(read("str", b"ab\xffc").unwrap_err().contains("byte 2"));

    let latin: Codec = "ISO-8859-1".parse().unwrap();
    assert_eq!(write_with(&StringSerializer::new(latin), "é"), Ok(Some(vec![0xe9])));
    assert_eq!(read_with(&StringDeserializer::new(latin), b"\xe9"), Ok("'é'".into()));
    assert!(write_with(&StringSerializer::new(latin), "a€").unwrap_err().contains("character 1"));

    let ascii: Codec = "US_ASCII".parse().unwrap();
    assert_eq!(read_with(&StringDeserializer::new(ascii), b"a"), Ok("'a'".into()));
    assert!(read_with(&StringDeserializer::new(ascii), b"a\x80").unwrap_err().contains("byte 1"));
    assert!(write_with(&StringSerializer::new(ascii), "é").is_err());

    assert_eq!("utf_8".parse(), Ok(Codec::Utf8));
    assert!("rot13".parse::<Codec>().unwrap_err().to_string().contains("utf_8"));
}

#[test]
fn t40_undecoded_json_text_is_text() {
    assert_eq!(write("str", Value::json(r#""a\n""#).unwrap()), Ok(Some(b"a\n".to_vec())));
}

#[test]
fn t41_bytes_pass() {
    assert_eq!(write("bytes", Bytes::from_static(b"\0\xff")), Ok(Some(vec![0, 0xff])));
    assert_eq!(write("bytes", Value::Null), Ok(None));
    assert_eq!(read("bytes", b"\0a"), Ok("b'\\x00a'".into()));
    assert!(write("bytes", 1.5).is_err());
}

#[test]
fn t42_integers_of_four_bytes() {
    assert_eq!(write("int", -2), Ok(Some(vec![0xff, 0xff, 0xff, 0xfe])));
    assert_eq!(write("integer", true), Ok(Some(vec![0, 0, 0, 1])));
    assert_eq!(write("int", Value::json("7").unwrap()), Ok(Some(vec![0, 0, 0, 7])));
    assert_eq!(write("int", Value::Null), Ok(None));
    assert!(write("int", 1i64 << 31).unwrap_err().contains("2147483647"));
    assert!(write("int", u64::MAX).is_err());
    assert!(write("int", 1.0).is_err());
    assert!(write("int", "1").is_err());
    assert_eq!(read("int", b"\x80\0\0\0"), Ok("-2147483648".into()));
    assert!(read("int", b"\0\0\0").unwrap_err().contains("there are 3"));
}

#[test]
fn t43_doubles() {
    assert_eq!(write("double", 1.0), Ok(Some(vec![0x3f, 0xf0, 0, 0, 0, 0, 0, 0])));
    assert_eq!(write("double", 1), write("double", 1.0));
    assert_eq!(write("double", Value::Null), Ok(None));
    assert!(write("double", "1").is_err());
    assert_eq!(read("double", b"\x3f\xf0\0\0\0\0\0\0"), Ok("1.0".into()));
    assert!(read("double", b"\x3f\xf0\0\0\0\0\0\0\0").is_err());
}

#[test]
fn t44_json_is_written_compactly_and_null_too() {
    let map: Map = [("a", Value::from(1)), ("b", Value::from("x"))].into_iter().collect();
    assert_eq!(write("json", map), Ok(Some(br#"{"a":1,"b":"x"}"#.to_vec())));
    assert_eq!(write("json", Value::Null), Ok(Some(b"null".to_vec())));
    let list = vec![Value::from(1), Value::from(Bytes::from_static(b"x"))];
    assert!(write("json", list).unwrap_err().contains("bytes"));
}

#[test]
fn undecoded_json_is_forwarded_as_it_came() {
    let text = r#"{"b": 1.50, "a": [ 1 ]}"#;
    assert_eq!(write("json", Value::json(text).unwrap()), Ok(Some(text.into())));
}

#[test]
fn t45_json_is_checked_whole_and_not_decoded() {
    let deserializer = deserializer_by_name("json").unwrap();
    let bytes = Bytes::from_static(b" {\"a\": 18446744073709551616} ");
    let headers = Headers::none();
    let Deserialized::One(Value::Json(text)) =
        deserializer.deserialize(bytes, &context(&headers)).unwrap()
    else {
        panic!("JSON stays JSON");
    };
    assert_eq!(text.as_str(), "{\"a\": 18446744073709551616}");
    assert_eq!(read("json", b"18446744073709551616"), Ok("1.8446744073709552e+19".into()));
    for bad in [&b""[..], b"NaN", b"\"\xff\"", b"{", b"\"\\ud800\"", b"1 2"] {
        let message = read("json", bad).unwrap_err();
        assert!(message.starts_with("invalid JSON at byte "), "{message}");
    }
}

#[test]
fn t01_unknown_names_list_the_known_ones() {
    let error = serializer_by_name("jsn").err().unwrap().to_string();
    for name in ["jsn", "bytes", "double", "int", "integer", "json", "str", "string"] {
        assert!(error.contains(&format!("{name:?}")), "{error}");
    }
    assert!(deserializer_by_name("").is_err());
}
