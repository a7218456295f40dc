//! The five ways to pack a batch's records, with a bound on what unpacking may produce.
//!
//! Formats as Kafka's clients use them: gzip; snappy in the framing of xerial's Java library
//! (written by us) or raw (read as well, librdkafka writes it); LZ4 frames of independent
//! blocks; zstd frames.

use std::fmt;
use std::io::{Read, Write};

use crate::BatchError;

/// How the records of a batch are packed. The numbers are the codes in the batch's attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum Compression {
    /// Not packed.
    #[default]
    None = 0,
    /// gzip.
    Gzip = 1,
    /// Snappy.
    Snappy = 2,
    /// LZ4 frame.
    Lz4 = 3,
    /// zstd.
    Zstd = 4,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Start of xerial's framing: a magic word, its version and the lowest version that reads it.
const XERIAL_HEADER: [u8; 16] =
    [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
const XERIAL_BLOCK: usize = 32 * 1024;
/// Window of 128 MiB, what zstd's own command line accepts; bounds the memory of a decoder.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

impl Compression {
    /// All five.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The name that Kafka's settings use.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The lowest and the highest level that can be chosen; `None` if there is but one way (LZ4
    /// is always fast here).
    pub fn levels(self) -> Option<(i32, i32)> {
        match self {
            Self::None | Self::Snappy | Self::Lz4 => None,
            Self::Gzip => Some((0, 9)),
            Self::Zstd => Some((1, 22)),
        }
    }

    /// The compression of that code.
    ///
    /// # Errors
    /// [`BatchError::Codec`] if there is none.
    pub fn from_code(code: i16) -> Result<Self, BatchError> {
        Self::ALL
            .into_iter()
            .find(|compression| *compression as i16 == code)
            .ok_or(BatchError::Codec(code))
    }

    /// The compression of that name (`none`, `gzip`, `snappy`, `lz4`, `zstd`).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|compression| compression.name() == name)
    }

    /// Appends the unpacked form of `packed` to `out`, which never grows beyond `limit` bytes.
    ///
    /// # Errors
    /// [`BatchError::Unpack`] if the bytes are not of this kind, [`BatchError::TooLarge`].
    pub fn unpack(self, packed: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), BatchError> {
        match self {
            Self::None => {
                if packed.len() > limit.saturating_sub(out.len()) {
                    return Err(BatchError::TooLarge { codec: self, limit });
                }
                out.extend_from_slice(packed);
                Ok(())
            }
            Self::Gzip => self.read_all(flate2::read::MultiGzDecoder::new(packed), out, limit),
            Self::Snappy => self.unpack_snappy(packed, out, limit),
            Self::Lz4 => self.read_all(lz4_flex::frame::FrameDecoder::new(packed), out, limit),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)
                    .map_err(|error| self.unpack_error(error))?;
                decoder
                    .window_log_max(ZSTD_WINDOW_LOG_MAX)
                    .map_err(|error| self.unpack_error(error))?;
                self.read_all(decoder, out, limit)
            }
        }
    }

    /// Appends the packed form of `plain` to `out`, at the codec's usual level.
    ///
    /// # Errors
    /// [`BatchError::Build`] if the library refuses.
    pub fn pack(self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
        self.pack_at(None, plain, out)
    }

    /// Appends the packed form of `plain` to `out`. A level beyond [`Self::levels`] counts as the
    /// nearest of them; `None` is the codec's usual one.
    ///
    /// # Errors
    /// [`BatchError::Build`] if the library refuses.
    pub fn pack_at(
        self,
        level: Option<i32>,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), BatchError> {
        let level = level.zip(self.levels()).map(|(level, (low, high))| level.clamp(low, high));
        let failed = |reason: String| BatchError::Build(reason);
        match self {
            Self::None => out.extend_from_slice(plain),
            Self::Gzip => {
                let level = match level {
                    // Within 0 ..= 9.
                    Some(level) => flate2::Compression::new(level as u32),
                    None => flate2::Compression::default(),
                };
                let mut encoder = flate2::write::GzEncoder::new(out, level);
                encoder
                    .write_all(plain)
                    .and_then(|()| encoder.finish().map(drop))
                    .map_err(|error| failed(error.to_string()))?;
            }
            Self::Snappy => pack_snappy(plain, out).map_err(|error| failed(error.to_string()))?,
            Self::Lz4 => {
                // Independent blocks: Kafka's Java reader knows no others.
                let info = lz4_flex::frame::FrameInfo::new()
                    .block_size(lz4_flex::frame::BlockSize::Max64KB)
                    .block_mode(lz4_flex::frame::BlockMode::Independent);
                let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, out);
                encoder.write_all(plain).map_err(|error| failed(error.to_string()))?;
                encoder.finish().map_err(|error| failed(error.to_string()))?;
            }
            Self::Zstd => {
                let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
                zstd::stream::copy_encode(plain, out, level)
                    .map_err(|error| failed(error.to_string()))?;
            }
        }
        Ok(())
    }

    fn read_all(
        self,
        reader: impl Read,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), BatchError> {
        let room = limit.saturating_sub(out.len());
        let read = reader
            .take(room as u64 + 1)
            .read_to_end(out)
            .map_err(|error| self.unpack_error(error))?;
        if read > room { Err(BatchError::TooLarge { codec: self, limit }) } else { Ok(()) }
    }

    fn unpack_snappy(
        self,
        packed: &[u8],
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), BatchError> {
        let Some(mut blocks) = packed
            .strip_prefix(&XERIAL_HEADER[..8])
            .and_then(|versions| versions.get(XERIAL_HEADER.len() - 8..))
        else {
            return self.unpack_snappy_block(packed, out, limit);
        };
        while !blocks.is_empty() {
            let (length, rest) = blocks
                .split_first_chunk::<4>()
                .ok_or_else(|| self.unpack_error("the framing ends inside a block length"))?;
            let (block, rest) = usize::try_from(i32::from_be_bytes(*length))
                .ok()
                .and_then(|length| rest.split_at_checked(length))
                .ok_or_else(|| self.unpack_error("the framing states a wrong block length"))?;
            self.unpack_snappy_block(block, out, limit)?;
            blocks = rest;
        }
        Ok(())
    }

    fn unpack_snappy_block(
        self,
        block: &[u8],
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), BatchError> {
        let length = snap::raw::decompress_len(block).map_err(|error| self.unpack_error(error))?;
        let start = out.len();
        if length > limit.saturating_sub(start) {
            return Err(BatchError::TooLarge { codec: self, limit });
        }
        out.resize(start + length, 0);
        snap::raw::Decoder::new()
            .decompress(block, &mut out[start..])
            .map_err(|error| self.unpack_error(error))?;
        Ok(())
    }

    fn unpack_error(self, reason: impl ToString) -> BatchError {
        BatchError::Unpack { codec: self, reason: reason.to_string() }
    }
}

fn pack_snappy(plain: &[u8], out: &mut Vec<u8>) -> Result<(), snap::Error> {
    out.extend_from_slice(&XERIAL_HEADER);
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(XERIAL_BLOCK) {
        let length_at = out.len();
        let start = length_at + 4;
        out.resize(start + snap::raw::max_compress_len(block.len()), 0);
        let written = encoder.compress(block, &mut out[start..])?;
        out[length_at..start].copy_from_slice(&(written as u32).to_be_bytes());
        out.truncate(start + written);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_five_round_trip_and_respect_the_limit() {
        let plain: Vec<u8> = (0..200_000u32).flat_map(|n| (n % 251).to_le_bytes()).collect();
        for codec in Compression::ALL {
            for length in [0, 1, 17, 70_000, plain.len()] {
                let mut packed = Vec::new();
                codec.pack(&plain[..length], &mut packed).unwrap();
                let mut out = Vec::new();
                codec.unpack(&packed, &mut out, length).unwrap();
                assert_eq!(out, plain[..length], "{codec} {length}");
                if length > 0 {
                    let mut out = Vec::new();
                    assert_eq!(
                        codec.unpack(&packed, &mut out, length - 1),
                        Err(BatchError::TooLarge { codec, limit: length - 1 })
                    );
                }
            }
        }
    }

    #[test]
    fn every_level_can_be_unpacked_and_a_higher_one_packs_closer() {
        let plain: Vec<u8> = (0..60_000u32).flat_map(|n| (n * n % 8191).to_le_bytes()).collect();
        for codec in Compression::ALL {
            let size = |level| {
                let (mut packed, mut out) = (Vec::new(), Vec::new());
                codec.pack_at(level, &plain, &mut packed).unwrap();
                codec.unpack(&packed, &mut out, plain.len()).unwrap();
                assert_eq!(out, plain, "{codec} {level:?}");
                packed.len()
            };
            let (lowest, highest) = (size(Some(i32::MIN)), size(Some(i32::MAX)));
            for level in -1..=9 {
                size(Some(level));
            }
            match codec.levels() {
                Some(_) => assert!(highest < lowest, "{codec}: {highest} {lowest}"),
                None => assert_eq!(highest, lowest, "{codec}"),
            }
        }
    }

    #[test]
    fn raw_snappy_is_read() {
        let packed = snap::raw::Encoder::new().compress_vec(b"as librdkafka writes it").unwrap();
        let mut out = Vec::new();
        Compression::Snappy.unpack(&packed, &mut out, 100).unwrap();
        assert_eq!(out, b"as librdkafka writes it");
    }

    #[test]
    fn rubbish_is_an_error() {
        for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let error = codec.unpack(&[0xff; 40], &mut Vec::new(), 1000).unwrap_err();
            assert!(
                matches!(error, BatchError::Unpack { .. } | BatchError::TooLarge { .. }),
                "{codec}: {error}"
            );
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let mut packed = Vec::new();
        Compression::Zstd.pack(&vec![0; 50_000_000], &mut packed).unwrap();
        let mut out = Vec::new();
        assert!(packed.len() < 10_000);
        assert_eq!(
            Compression::Zstd.unpack(&packed, &mut out, 100_000),
            Err(BatchError::TooLarge { codec: Compression::Zstd, limit: 100_000 })
        );
        assert!(out.capacity() < 1_000_000);
    }
}
