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

/// The index of the quote that ends the string whose first byte is at `at`, and whether the
/// string has escapes. `text` is checked JSON.
#[inline(always)]
pub(super) fn string_end(text: &[u8], mut at: usize) -> (usize, bool) {
    let mut escaped = false;
    let mut high = false;
    loop {
        at = plain_run(text, at, &mut high);
        match text.get(at) {
            Some(b'\\') => {
                escaped = true;
                at += 2;
            }
            _ => return (at, escaped),
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
        Some(b'"') => string_end(text, at + 1).0 + 1,
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

fn container_end(text: &[u8], mut at: usize) -> usize {
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
            b'"' => at = string_end(text, at + 1).0,
            _ => {}
        }
        at += 1;
    }
    at
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8,
    };

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
