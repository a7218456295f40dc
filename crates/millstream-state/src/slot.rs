//! The form of a stored value, on disk and in the changelog:
//!
//! | bytes | |
//! |---|---|
//! | 1 | version, `01` |
//! | 1 | flags; bit 0: an expiry stamp follows. The other bits are 0 |
//! | 0 or 8 | expiry stamp: event time in ms, big endian (parity row ST-50) |
//! | rest | the entry's own encoding ([`crate::Entry::encode`]) |

use millstream_types::Timestamp;

const VERSION: u8 = 1;
const EXPIRES: u8 = 1;

/// Appends version, flags and stamp; the payload follows.
pub(crate) fn begin(out: &mut Vec<u8>, expires: Option<Timestamp>) {
    match expires {
        None => out.extend_from_slice(&[VERSION, 0]),
        Some(stamp) => {
            out.extend_from_slice(&[VERSION, EXPIRES]);
            out.extend_from_slice(&stamp.to_be_bytes());
        }
    }
}

/// The payload and the expiry stamp.
pub(crate) fn open(value: &[u8]) -> Result<(&[u8], Option<Timestamp>), &'static str> {
    let [version, flags, rest @ ..] = value else { return Err("it is cut off") };
    if *version != VERSION {
        return Err("it was written by a newer version of Millstream");
    }
    match *flags {
        0 => Ok((rest, None)),
        EXPIRES => {
            let (stamp, rest) = rest.split_first_chunk().ok_or("it is cut off")?;
            Ok((rest, Some(Timestamp::from_be_bytes(*stamp))))
        }
        _ => Err("it has flags that only a newer version of Millstream knows"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let mut plain = Vec::new();
        begin(&mut plain, None);
        plain.extend_from_slice(b"payload");
        assert_eq!(plain, b"\x01\0payload");
        assert_eq!(open(&plain), Ok((&b"payload"[..], None)));

        let mut stamped = Vec::new();
        begin(&mut stamped, Some(-2));
        stamped.push(b'p');
        assert_eq!(stamped, b"\x01\x01\xff\xff\xff\xff\xff\xff\xff\xfep");
        assert_eq!(open(&stamped), Ok((&b"p"[..], Some(-2))));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for value in [&b""[..], b"\x01", b"\x02\0x", b"\x01\x02x", b"\x01\x01\0\0\0\0\0\0\0"] {
            assert!(open(value).is_err(), "{value:?}");
        }
    }
}
