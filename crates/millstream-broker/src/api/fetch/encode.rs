//! The answer to a fetch, around records that stay where they are.
//!
//! The codec wants the records in memory, and copies them. Here it encodes everything else, level by
//! level: topics and partitions are the last field of what holds them, and records are the last
//! field of a partition, so that each is encoded without its contents, and these follow.

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::{ApiKey, FetchResponse};
use kafka_protocol::protocol::Encodable;
use millstream_protocol::varint;

use crate::broker::Context;
use crate::disk::Piece;
use crate::wire::{self, Frame};

/// The answer with these records, one piece for each partition of `response`, in order. In
/// `response` they are empty, and no field has a tag.
pub(super) fn answer(context: &Context, mut response: FetchResponse, records: Vec<Piece>) -> Frame {
    let in_file = |piece: &Piece| matches!(piece, Piece::File { .. });
    if records.iter().any(in_file) {
        return around(context.version, context.correlation_id, response, records).unwrap_or_else(
            || {
                tracing::error!(version = context.version, "a fetch does not fit its version");
                Frame::default()
            },
        );
    }
    let partitions = response.responses.iter_mut().flat_map(|topic| &mut topic.partitions);
    for (partition, piece) in partitions.zip(records) {
        if let Piece::Bytes(bytes) = piece {
            partition.records = Some(bytes);
        }
    }
    context.frame(&response).into()
}

/// `None` if a field does not fit the version, or one comes behind what must be the last.
fn around(
    version: i16,
    correlation_id: i32,
    mut response: FetchResponse,
    records: Vec<Piece>,
) -> Option<Frame> {
    let mut records = records.into_iter();
    let topics = std::mem::take(&mut response.responses);
    let flexible = wire::is_flexible(ApiKey::Fetch, version);
    let mut out = Levels { version, flexible, text: BytesMut::new() };
    // Texts and records in files take turns, a text in front; other records are part of the text, so
    // that it takes no more calls to send it than there are files.
    let (mut texts, mut files) = (Vec::new(), Vec::new());
    out.text.put_i32(0);
    out.text.put_i32(correlation_id);
    if flexible {
        out.text.put_u8(0);
    }
    out.open(&response, topics.len())?;
    for mut topic in topics {
        let partitions = std::mem::take(&mut topic.partitions);
        out.open(&topic, partitions.len())?;
        for partition in partitions {
            let piece = records.next()?;
            out.open(&partition, piece.len())?;
            match piece {
                Piece::Bytes(bytes) => out.text.put_slice(&bytes),
                Piece::File { .. } => {
                    texts.push(out.text.split());
                    files.push(piece);
                }
            }
            out.close();
        }
        out.close();
    }
    out.close();
    texts.push(out.text);
    let length = texts.iter().map(BytesMut::len).chain(files.iter().map(Piece::len)).sum::<usize>();
    let length = i32::try_from(length - 4).ok()?;
    texts[0][..4].copy_from_slice(&length.to_be_bytes());
    let mut files = files.into_iter();
    let mut answer = Frame::default();
    for text in texts {
        answer.push(text.freeze().into());
        files.next().into_iter().for_each(|piece| answer.push(piece));
    }
    Some(answer)
}

/// What is encoded so far of structures that are each the last field of the one around it.
struct Levels {
    version: i16,
    flexible: bool,
    text: BytesMut,
}

impl Levels {
    /// Encodes what ends with an empty field, up to that; it is going to have that length.
    fn open(&mut self, item: &impl Encodable, length: usize) -> Option<()> {
        item.encode(&mut self.text, self.version).ok()?;
        // A compact length is one more; behind it comes the number of tagged fields.
        let nothing: &[u8] = if self.flexible { &[1, 0] } else { &[0; 4] };
        let kept = self.text.strip_suffix(nothing)?.len();
        self.text.truncate(kept);
        if self.flexible {
            let mut compact = Vec::with_capacity(5);
            varint::write_u64(&mut compact, length as u64 + 1);
            self.text.put_slice(&compact);
        } else {
            self.text.put_i32(i32::try_from(length).ok()?);
        }
        Some(())
    }

    /// Ends what was opened last.
    fn close(&mut self) {
        if self.flexible {
            self.text.put_u8(0);
        }
    }
}

#[cfg(test)]
mod tests;
