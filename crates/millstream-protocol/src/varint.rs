//! Numbers of variable length: seven bits a byte, low bits first; signed ones zigzag-coded.

/// Reads an unsigned number of at most 32 bits from the front of `bytes` and moves on; `None`
/// when the bytes end too early or the number is too long.
#[inline]
pub fn read_u32(bytes: &mut &[u8]) -> Option<u32> {
    read_u64_of(bytes, 5).and_then(|value| u32::try_from(value).ok())
}

/// Reads a zigzag-coded number of at most 32 bits.
#[inline]
pub fn read_i32(bytes: &mut &[u8]) -> Option<i32> {
    let raw = match short(bytes) {
        Some(raw) => raw,
        None => long(bytes, 5).and_then(|value| u32::try_from(value).ok())?,
    };
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Reads a zigzag-coded number of at most 64 bits.
#[inline]
pub fn read_i64(bytes: &mut &[u8]) -> Option<i64> {
    let raw = match short(bytes) {
        Some(raw) => u64::from(raw),
        None => long(bytes, 10)?,
    };
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

/// A number of one or two bytes, if it is one: deltas fit one, lengths of small records two, and
/// how fast a batch is walked depends on them.
#[inline]
fn short(bytes: &mut &[u8]) -> Option<u32> {
    match **bytes {
        [first, ref rest @ ..] if first < 0x80 => {
            *bytes = rest;
            Some(u32::from(first))
        }
        [first, second, ref rest @ ..] if second < 0x80 => {
            *bytes = rest;
            Some(u32::from(first & 0x7f) | u32::from(second) << 7)
        }
        _ => None,
    }
}

/// Out of the way, so that the short ones are read where they are wanted.
#[cold]
#[inline(never)]
fn long(bytes: &mut &[u8], longest: usize) -> Option<u64> {
    read_u64_of(bytes, longest)
}

#[inline]
fn read_u64_of(bytes: &mut &[u8], longest: usize) -> Option<u64> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(longest).enumerate() {
        // The tenth byte of a 64-bit number has room for one bit.
        if index == 9 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

/// Appends an unsigned number.
#[inline]
pub fn write_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a zigzag-coded number. 32-bit numbers have the same form.
#[inline]
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    write_u64(out, zigzag(value));
}

/// Bytes that [`write_i64`] appends.
#[inline]
pub fn size_i64(value: i64) -> usize {
    (64 - (zigzag(value) | 1).leading_zeros() as usize).div_ceil(7)
}

/// The number whose low bit is the sign.
#[inline]
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_kafkas() {
        // The same values as in Kafka's own test of its variable-length numbers.
        for (value, bytes) in [
            (0i64, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (8191, &[0xfe, 0x7f]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::from(i32::MIN), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut out = Vec::new();
            write_i64(&mut out, value);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(size_i64(value), bytes.len(), "{value}");
            assert_eq!(read_i32(&mut &out[..]), Some(value as i32));
        }
    }

    #[test]
    fn too_long_or_cut_off_is_none() {
        assert_eq!(read_i32(&mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0x01][..]), None);
        assert_eq!(read_i32(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..]), None);
        assert_eq!(read_i64(&mut &[0xff; 9][..]), None);
        assert_eq!(read_i64(&mut &[0xff; 11][..]), None);
        assert_eq!(read_i32(&mut &[][..]), None);
    }

    #[test]
    fn short_numbers() {
        for value in -20_000..20_000 {
            let mut out = Vec::new();
            write_i64(&mut out, value);
            for end in 0..out.len() {
                assert_eq!(read_i64(&mut &out[..end]), None, "{value} cut at {end}");
                assert_eq!(read_i32(&mut &out[..end]), None, "{value} cut at {end}");
            }
            out.push(0xff);
            for read in [|rest: &mut &[u8]| read_i32(rest).map(i64::from), read_i64] {
                let mut rest = &out[..];
                assert_eq!((read(&mut rest), rest), (Some(value), &[0xff][..]));
            }
        }
    }

    proptest! {
        #[test]
        fn round_trip(value: i64, tail: Vec<u8>) {
            let mut out = Vec::new();
            write_i64(&mut out, value);
            prop_assert_eq!(size_i64(value), out.len());
            out.extend_from_slice(&tail);
            let mut rest = &out[..];
            prop_assert_eq!(read_i64(&mut rest), Some(value));
            prop_assert_eq!(rest, &tail[..]);
        }
    }
}
