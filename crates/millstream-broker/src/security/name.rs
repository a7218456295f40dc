//! The subject of a certificate as text, as Kafka makes a principal of it: Java's
//! `X500Principal.getName()`, which is RFC 2253 with the attribute names of that RFC only.

use std::borrow::Cow;
use std::fmt::Write;

use super::der::{Der, OID, SEQUENCE, SET};

/// The attributes that RFC 2253 has names for. All others are shown as numbers.
const NAMES: [(&[u8], &str); 9] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
];

const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const T61_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const GENERAL_STRING: u8 = 0x1b;
const UNIVERSAL_STRING: u8 = 0x1c;
const BMP_STRING: u8 = 0x1e;
const EXPLICIT_VERSION: u8 = 0xa0;

/// The subject of a certificate in DER, such as `CN=ann,O=Example`; `None` if it is not there.
pub(super) fn subject(certificate: &[u8]) -> Option<String> {
    let outer = Der(certificate).expect(SEQUENCE)?;
    let mut fields = Der(Der(outer).expect(SEQUENCE)?);
    // Version (which may be missing), serial number, algorithm, issuer, validity, subject.
    let mut skipped = fields;
    if skipped.next()?.tag == EXPLICIT_VERSION {
        fields = skipped;
    }
    for _ in 0..4 {
        fields.next()?;
    }
    distinguished_name(fields.expect(SEQUENCE)?)
}

fn distinguished_name(content: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    let mut sets = Der(content);
    while !sets.0.is_empty() {
        let mut attributes = Der(sets.expect(SET)?);
        let mut part = Vec::new();
        while !attributes.0.is_empty() {
            part.push(attribute(attributes.expect(SEQUENCE)?)?);
        }
        parts.push(part.join("+"));
    }
    // The most special part stands first in text and last in a certificate.
    parts.reverse();
    Some(parts.join(","))
}

fn attribute(content: &[u8]) -> Option<String> {
    let mut fields = Der(content);
    let oid = fields.expect(OID)?;
    let value = fields.next()?;
    let known = NAMES.iter().find(|(known, _)| *known == oid).map(|(_, name)| *name);
    match (known, string(value.tag, value.content)) {
        (Some(name), Some(text)) => Some(format!("{name}={}", escaped(&text))),
        (known, _) => {
            let mut out = known.map_or_else(|| dotted(oid), |name| Some(name.to_owned()))?;
            out.push_str("=#");
            for byte in value.whole {
                let _ = write!(out, "{byte:02x}");
            }
            Some(out)
        }
    }
}

/// The text of a value that is one. Java takes the bytes of every kind of string for UTF-8, and so
/// must we: rules name principals as Kafka does.
fn string(tag: u8, content: &[u8]) -> Option<Cow<'_, str>> {
    let is_string = matches!(
        tag,
        UTF8_STRING
            | PRINTABLE_STRING
            | T61_STRING
            | IA5_STRING
            | GENERAL_STRING
            | UNIVERSAL_STRING
            | BMP_STRING
    );
    is_string.then(|| String::from_utf8_lossy(content))
}

fn escaped(text: &str) -> String {
    let is_space = |character: char| matches!(character, ' ' | '\r');
    let inner = text.trim_matches(is_space);
    let (lead, trail) = match inner.is_empty() {
        true => (text.len(), text.len()),
        false => {
            let lead = text.len() - text.trim_start_matches(is_space).len();
            (lead, lead + inner.len())
        }
    };
    let mut out = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        let outside = at < lead || at >= trail;
        match character {
            '\0' => out.push_str("\\00"),
            ',' | '=' | '+' | '<' | '>' | '#' | ';' | '"' | '\\' => out.extend(['\\', character]),
            _ if outside => out.extend(['\\', character]),
            _ => out.push(character),
        }
    }
    out
}

/// An object identifier as numbers; `None` if a number ends early or is beyond 64 bits.
fn dotted(oid: &[u8]) -> Option<String> {
    let mut numbers = Vec::new();
    let mut number = 0u64;
    let mut open = false;
    for byte in oid {
        number = number.checked_mul(128)?.checked_add(u64::from(byte & 0x7f))?;
        open = byte & 0x80 != 0;
        if !open {
            numbers.push(std::mem::take(&mut number));
        }
    }
    if open || numbers.is_empty() {
        return None;
    }
    let first = numbers[0].min(80) / 40;
    let mut out = format!("{first}.{}", numbers[0] - first * 40);
    for number in &numbers[1..] {
        let _ = write!(out, ".{number}");
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        match content.len() {
            short @ 0..=0x7f => out.push(short as u8),
            long => out.extend([0x82, (long >> 8) as u8, long as u8]),
        }
        out.extend(content);
        out
    }

    fn pair(oid: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        element(SEQUENCE, &[element(OID, oid), element(tag, value)].concat())
    }

    /// What is expected was printed by Java 17.
    #[test]
    fn names_as_java_writes_them() {
        let cn = &[0x55, 4, 3][..];
        let o = &[0x55, 4, 10][..];
        let email = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1][..];
        let single = |pairs: Vec<Vec<u8>>| -> Vec<u8> {
            pairs.into_iter().flat_map(|pair| element(SET, &pair)).collect()
        };
        for (name, expected) in [
            (vec![], ""),
            (
                single(vec![pair(o, 0x13, b"Example"), pair(cn, 0x0c, "\u{e4}nn".as_bytes())]),
                "CN=\u{e4}nn,O=Example",
            ),
            (
                single(vec![pair(cn, 0x0c, b" a,b=c+\"d\"#;<>\\ ")]),
                "CN=\\ a\\,b\\=c\\+\\\"d\\\"\\#\\;\\<\\>\\\\\\ ",
            ),
            (single(vec![pair(cn, 0x0c, b"  ")]), "CN=\\ \\ "),
            (single(vec![pair(cn, 0x0c, b"a\0b c")]), "CN=a\\00b c"),
            (single(vec![pair(cn, 0x1e, &[0, b'a', 0, b'b'])]), "CN=\\00a\\00b"),
            (single(vec![pair(email, 0x16, b"a@b")]), "1.2.840.113549.1.9.1=#1603614062"),
            (single(vec![pair(cn, 0x0c, b"\ra\r")]), "CN=\\\ra\\\r"),
            // Not UTF-8, and no string at all.
            (single(vec![pair(cn, 0x0c, &[0xff])]), "CN=\u{fffd}"),
            (single(vec![pair(cn, 0x02, &[5])]), "CN=#020105"),
            (element(SET, &[pair(cn, 0x13, b"a"), pair(o, 0x13, b"b")].concat()), "CN=a+O=b"),
        ] {
            assert_eq!(distinguished_name(&name).as_deref(), Some(expected));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            let _ = subject(&bytes);
            let _ = distinguished_name(&bytes);
            let _ = distinguished_name(&element(SET, &element(SEQUENCE, &bytes)));
            let _ = dotted(&bytes);
            for tag in [UTF8_STRING, T61_STRING, BMP_STRING, UNIVERSAL_STRING, 0x05] {
                let _ = string(tag, &bytes).map(|text| escaped(&text));
            }
        }
    }

    #[test]
    fn what_is_no_name_gives_none() {
        for bad in [&[0x31][..], &[0x31, 2, 0x30, 5], &[0x30, 0], &[0x31, 2, 0x30, 0], b"garbage"] {
            assert_eq!(distinguished_name(bad), None, "{bad:?}");
            assert_eq!(subject(bad), None, "{bad:?}");
        }
        assert_eq!(dotted(&[0x2a, 0x86]), None);
        assert_eq!(dotted(&[0xff; 12]), None);
        assert_eq!(dotted(&[0x88, 0x37]).as_deref(), Some("2.999"));
    }
}
