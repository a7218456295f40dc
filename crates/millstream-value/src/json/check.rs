//! The check: one pass, no recursion, no allocation.

use std::ops::Range;

use super::index::Notes;
use super::scan::{plain_run, skip_space};

/// How many containers may lie in each other.
pub const DEPTH_MAX: usize = 1024;

/// From this many digits on, a number without exponent may be beyond a double.
const DIGITS_SAFE: usize = 308;

/// Why text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid JSON at byte {position}: {what}")]
pub struct JsonError {
    /// Which byte, counted from 0.
    pub position: usize,
    /// What is wrong there.
    pub what: &'static str,
}

type Check<T> = Result<T, JsonError>;

#[cold]
fn error<T>(position: usize, what: &'static str) -> Check<T> {
    Err(JsonError { position, what })
}

/// Checks that `text` is one JSON value and tells where it lies between white space.
///
/// # Errors
/// Where it is not, with the first byte that cannot be. Invalid UTF-8 is reported when
/// everything else is right.
pub fn check(text: &[u8]) -> Result<Range<usize>, JsonError> {
    check_noting(text, &mut ())
}

/// The same, and tells `notes` of the fields of the outermost map, by their places in `text`.
#[inline]
pub(super) fn check_noting<N: Notes>(
    text: &[u8],
    notes: &mut N,
) -> Result<Range<usize>, JsonError> {
    if u32::try_from(text.len()).is_err() {
        return error(0, "text of 4 GiB or more");
    }
    let mut checker = Checker { text, high: false, notes };
    let start = skip_space(text, 0);
    let end = checker.value(start)?;
    let rest = skip_space(text, end);
    if rest < text.len() {
        return error(rest, "more text after the value");
    }
    if checker.high
        && let Err(invalid) = simdutf8::compat::from_utf8(text)
    {
        return error(invalid.valid_up_to(), "text that is not UTF-8");
    }
    Ok(start..end)
}

struct Checker<'a, N> {
    text: &'a [u8],
    notes: &'a mut N,
    /// Whether a string has a byte beyond ASCII. (Outside of strings there can be none.)
    high: bool,
}

/// Which containers are open: one bit each, set for objects.
struct Open {
    bits: [u64; DEPTH_MAX / 64],
    depth: usize,
}

impl Open {
    #[inline(always)]
    fn push(&mut self, position: usize, object: bool) -> Check<()> {
        if self.depth == DEPTH_MAX {
            return error(position, "more than 1024 containers in each other");
        }
        let word = &mut self.bits[self.depth / 64];
        let bit = 1 << (self.depth % 64);
        *word = if object { *word | bit } else { *word & !bit };
        self.depth += 1;
        Ok(())
    }

    /// Closes the innermost; whether the one around it is an object.
    #[inline(always)]
    fn pop(&mut self) -> bool {
        self.depth -= 1;
        self.depth > 0 && self.bits[(self.depth - 1) / 64] >> ((self.depth - 1) % 64) & 1 == 1
    }
}

impl<N: Notes> Checker<'_, N> {
    #[inline(always)]
    fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    /// Checks the value that starts at `at`; where it ends.
    fn value(&mut self, mut at: usize) -> Check<usize> {
        let text = self.text;
        let mut open = Open { bits: [0; DEPTH_MAX / 64], depth: 0 };
        let mut in_object = false;
        // Where the value of the outermost map's last key starts.
        let mut noted = 0;
        'value: loop {
            match self.byte(at) {
                Some(b'"') => (at, _) = self.string(at + 1)?,
                Some(b'-' | b'0'..=b'9') => at = self.number(at)?,
                Some(b'{') => {
                    open.push(at, true)?;
                    in_object = true;
                    at = skip_space(text, at + 1);
                    if self.byte(at) != Some(b'}') {
                        at = self.key(at, open.depth == 1)?;
                        if open.depth == 1 {
                            noted = at;
                        }
                        continue 'value;
                    }
                    at += 1;
                    in_object = open.pop();
                }
                Some(b'[') => {
                    open.push(at, false)?;
                    in_object = false;
                    at = skip_space(text, at + 1);
                    if self.byte(at) != Some(b']') {
                        continue 'value;
                    }
                    at += 1;
                    in_object = open.pop();
                }
                Some(b't') => at = self.word(at, b"true")?,
                Some(b'f') => at = self.word(at, b"false")?,
                Some(b'n') => at = self.word(at, b"null")?,
                _ => return self.no_value(at),
            }
            loop {
                if open.depth == 0 {
                    return Ok(at);
                }
                if open.depth == 1 && in_object {
                    self.notes.value(noted..at);
                }
                at = skip_space(text, at);
                match self.byte(at) {
                    Some(b',') => {
                        at = skip_space(text, at + 1);
                        if in_object {
                            at = self.key(at, open.depth == 1)?;
                            if open.depth == 1 {
                                noted = at;
                            }
                        }
                        continue 'value;
                    }
                    Some(b'}') if in_object => {}
                    Some(b']') if !in_object => {}
                    None => return error(at, "the text ends inside a container"),
                    _ if in_object => return error(at, "neither a comma nor `}` after a value"),
                    _ => return error(at, "neither a comma nor `]` after a value"),
                }
                at += 1;
                in_object = open.pop();
            }
        }
    }

    /// Checks a key and the colon; where the value starts.
    #[inline(always)]
    fn key(&mut self, at: usize, note: bool) -> Check<usize> {
        match self.byte(at) {
            Some(b'"') => {}
            Some(b'}') => return error(at, "a comma before `}`"),
            Some(b'\'') => return error(at, "single quotes; JSON wants double ones"),
            None => return error(at, "the text ends inside an object"),
            _ => return error(at, "a key must be a string"),
        }
        let (end, escaped) = self.string(at + 1)?;
        if note {
            self.notes.key(at + 1..end - 1, escaped);
        }
        let colon = skip_space(self.text, end);
        if self.byte(colon) != Some(b':') {
            return error(colon, "no colon after a key");
        }
        Ok(skip_space(self.text, colon + 1))
    }

    /// Checks a string from its first byte on; the position after its closing quote, and whether
    /// there are escapes in it.
    #[inline(always)]
    fn string(&mut self, mut at: usize) -> Check<(usize, bool)> {
        let mut escaped = false;
        loop {
            at = plain_run(self.text, at, &mut self.high);
            match self.byte(at) {
                Some(b'"') => return Ok((at + 1, escaped)),
                Some(b'\\') => {
                    at = self.escape(at + 1)?;
                    escaped = true;
                }
                Some(_) => return error(at, "a control character in a string must be escaped"),
                None => return error(at, "the text ends inside a string"),
            }
        }
    }

    /// Checks what follows a backslash.
    fn escape(&self, at: usize) -> Check<usize> {
        match self.byte(at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 1),
            Some(b'u') => match self.hex4(at + 1)? {
                0xd800..=0xdbff => {
                    if self.byte(at + 5) != Some(b'\\') || self.byte(at + 6) != Some(b'u') {
                        return error(at - 1, "a lone surrogate");
                    }
                    match self.hex4(at + 7)? {
                        0xdc00..=0xdfff => Ok(at + 11),
                        _ => error(at - 1, "a lone surrogate"),
                    }
                }
                0xdc00..=0xdfff => error(at - 1, "a lone surrogate"),
                _ => Ok(at + 5),
            },
            None => error(at, "the text ends inside a string"),
            _ => error(at - 1, "an unknown escape"),
        }
    }

    fn hex4(&self, at: usize) -> Check<u32> {
        let mut code = 0;
        for index in at..at + 4 {
            match self.byte(index).and_then(|byte| char::from(byte).to_digit(16)) {
                Some(digit) => code = code << 4 | digit,
                None => return error(index, "`\\u` wants four hexadecimal digits"),
            }
        }
        Ok(code)
    }

    #[inline(always)]
    fn digits(&self, mut at: usize) -> usize {
        while let Some(b'0'..=b'9') = self.byte(at) {
            at += 1;
        }
        at
    }

    #[inline(always)]
    fn number(&self, start: usize) -> Check<usize> {
        let first = start + usize::from(self.byte(start) == Some(b'-'));
        let mut at = self.digits(first);
        if at == first {
            return error(at, "a number needs a digit here");
        }
        if self.byte(first) == Some(b'0') && at > first + 1 {
            return error(first, "a number with a leading zero");
        }
        let mut large = at - first > DIGITS_SAFE;
        if self.byte(at) == Some(b'.') {
            let fraction = at + 1;
            at = self.digits(fraction);
            if at == fraction {
                return error(at, "a number needs a digit here");
            }
        }
        if let Some(b'e' | b'E') = self.byte(at) {
            let sign = usize::from(matches!(self.byte(at + 1), Some(b'+' | b'-')));
            let exponent = at + 1 + sign;
            at = self.digits(exponent);
            if at == exponent {
                return error(at, "a number needs a digit here");
            }
            large = true;
        }
        if large && !super::number::is_finite(&self.text[start..at]) {
            return error(start, "a number beyond the range of a double");
        }
        Ok(at)
    }

    #[inline(always)]
    fn word(&self, at: usize, word: &[u8]) -> Check<usize> {
        match self.text.get(at..at + word.len()) {
            Some(found) if found == word => Ok(at + word.len()),
            _ => self.no_value(at),
        }
    }

    #[cold]
    fn no_value<T>(&self, at: usize) -> Check<T> {
        let rest = self.text.get(at..).unwrap_or_default();
        error(
            at,
            match rest {
                [] if at == 0 => "the text is empty",
                [] => "the text ends where a value should be",
                [b']' | b'}', ..] => "a comma or colon with no value after it",
                [0xef, 0xbb, 0xbf, ..] => "a byte order mark; write UTF-8 without one",
                [b'N' | b'I', ..] => "NaN and Infinity are not JSON",
                [b'\'', ..] => "single quotes; JSON wants double ones",
                [b'.' | b'+', ..] => "a number must start with a digit or a minus sign",
                [0, ..] => "not JSON at all: the bytes may be of another format",
                _ => "no value starts like this",
            },
        )
    }
}
