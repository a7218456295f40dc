//! Finding the end of runs of bytes, sixteen at a time where the machine can.

/// Where a string stops being plain, from `at` on: at a quote, a backslash or a control
/// character; `text.len()` if it never does. Sets `high` if the run holds a byte beyond ASCII.
#[inline(always)]
pub(super) fn plain_run(text: &[u8], mut at: usize, high: &mut bool) -> usize {
    #[cfg(target_arch = "x86_64")]
    while let Some(block) = text.get(at..).and_then(<[u8]>::first_chunk::<16>) {
        let (stops, beyond) = sse2::string_stops(block);
        if stops != 0 {
            *high |= beyond & (stops - 1) & !stops != 0;
            return at + stops.trailing_zeros() as usize;
        }
        *high |= beyond != 0;
        at += 16;
    }
    while let Some(&byte) = text.get(at) {
        if matches!(byte, b'"' | b'\\' | ..0x20) {
            break;
        }
        *high |= byte >= 0x80;
        at += 1;
    }
    at
}

/// The index of the quote that ends the string whose first byte is at `at`. `text` is checked
/// JSON.
#[inline(always)]
fn string_end(text: &[u8], mut at: usize) -> usize {
    loop {
        at = plain_run(text, at, &mut false);
        match text.get(at) {
            Some(b'\\') => at += 2,
            _ => return at,
        }
    }
}

/// Where white space ends.
#[inline(always)]
pub(super) fn skip_space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = text.get(at) {
        at += 1;
    }
    at
}

/// The first byte after the value that starts at `at`. `text` is checked JSON.
#[inline(always)]
pub(super) fn value_end(text: &[u8], at: usize) -> usize {
    match text.get(at) {
        Some(b'"') => string_end(text, at + 1) + 1,
        Some(b'{' | b'[') => container_end(text, at),
        _ => scalar_end(text, at),
    }
}

/// The end of a number, `true`, `false` or `null`.
#[inline(always)]
fn scalar_end(text: &[u8], mut at: usize) -> usize {
    while let Some(byte) = text.get(at) {
        if matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t') {
            break;
        }
        at += 1;
    }
    at
}

pub(super) fn container_end(text: &[u8], mut at: usize) -> usize {
    let mut depth = 0usize;
    while let Some(byte) = text.get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b'"' => at = string_end(text, at + 1),
            _ => {}
        }
        at += 1;
    }
    at
}

/// The quotes of checked text one after the other, escaped ones left out, found sixteen bytes at a
/// time. To walk the fields of a map by its quotes alone, and look at nothing between them, takes
/// half the time of walking byte by byte: the next step does not wait for the last.
#[derive(Clone, Debug)]
pub(super) struct Quotes<'a> {
    text: &'a [u8],
    /// Where the block after the current one starts.
    next: usize,
    /// The quotes of the current block that were not handed out yet: bit 0 is the one at
    /// `next - 16`.
    bits: u32,
    /// Whether the first byte of the next block is escaped by the last one of this.
    escaped: bool,
    /// Whether there was a backslash up to the end of the current block.
    slashes: bool,
}

impl<'a> Quotes<'a> {
    /// From `at` on, which is not inside a string.
    #[inline(always)]
    pub(super) fn new(text: &'a [u8], at: usize) -> Self {
        Self { text, next: at, bits: 0, escaped: false, slashes: false }
    }

    /// Whether there was a backslash before the last quote, or a little behind it.
    #[inline(always)]
    pub(super) fn slashes(&self) -> bool {
        self.slashes
    }

    /// Leaves out everything before `at`, which is not inside a string.
    #[inline(always)]
    pub(super) fn skip_to(&mut self, at: usize) {
        if at >= self.next {
            self.next = at;
            self.bits = 0;
            self.escaped = false;
        } else {
            let start = self.next - 16;
            self.bits &= u32::MAX << at.saturating_sub(start);
        }
    }

    /// The next quote; the end of the text if there is none.
    #[inline(always)]
    pub(super) fn next(&mut self) -> usize {
        while self.bits == 0 {
            if self.next >= self.text.len() {
                return self.text.len();
            }
            let (quotes, slashes) = match self.text[self.next..].first_chunk::<16>() {
                Some(block) => quotes_and_slashes(block),
                None => {
                    let rest = &self.text[self.next..];
                    let mut block = [0; 16];
                    block[..rest.len()].copy_from_slice(rest);
                    quotes_and_slashes(&block)
                }
            };
            self.bits =
                if slashes != 0 || self.escaped { self.unescaped(quotes, slashes) } else { quotes };
            self.next += 16;
        }
        let bit = self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        self.next - 16 + bit
    }

    /// Of `quotes` those that no backslash precedes, or rather: an even number of them.
    #[cold]
    fn unescaped(&mut self, quotes: u32, slashes: u32) -> u32 {
        self.slashes = true;
        let mut unescaped = 0;
        for bit in 0..16 {
            if self.escaped {
                self.escaped = false;
            } else if slashes >> bit & 1 == 1 {
                self.escaped = true;
            } else {
                unescaped |= quotes & 1 << bit;
            }
        }
        unescaped
    }
}

/// Of each byte one bit: whether it is a quote, and whether it is a backslash.
#[inline(always)]
fn quotes_and_slashes(block: &[u8; 16]) -> (u32, u32) {
    #[cfg(target_arch = "x86_64")]
    return sse2::quotes_and_slashes(block);
    #[cfg(not(target_arch = "x86_64"))]
    {
        let bits = |wanted: u8| {
            block.iter().rev().fold(0, |bits, byte| bits << 1 | u32::from(*byte == wanted))
        };
        (bits(b'"'), bits(b'\\'))
    }
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8,
    };

    #[inline(always)]
    pub(super) fn quotes_and_slashes(block: &[u8; 16]) -> (u32, u32) {
        // SAFETY: SSE2 is part of every x86-64 processor; the load is of 16 bytes that the
        // reference covers, and may be unaligned.
        unsafe {
            let bytes = _mm_loadu_si128(block.as_ptr().cast::<__m128i>());
            let quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
            let slashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
            (_mm_movemask_epi8(quotes) as u32, _mm_movemask_epi8(slashes) as u32)
        }
    }

    /// Of each byte one bit: whether it ends a plain run, and whether it is beyond ASCII.
    #[inline(always)]
    pub(super) fn string_stops(block: &[u8; 16]) -> (u32, u32) {
        // SAFETY: SSE2 is part of every x86-64 processor; the load is of 16 bytes that the
        // reference covers, and may be unaligned.
        unsafe {
            let bytes = _mm_loadu_si128(block.as_ptr().cast::<__m128i>());
            let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
            let slash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
            let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
            let stops = _mm_or_si128(_mm_or_si128(quote, slash), control);
            (_mm_movemask_epi8(stops) as u32, _mm_movemask_epi8(bytes) as u32)
        }
    }
}
