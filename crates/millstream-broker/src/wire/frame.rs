//! Answers as a connection sends them.

use std::io;

use bytes::{Bytes, BytesMut};

use crate::disk::Piece;

/// An answer with its length in front, in pieces: records of a fetch may still lie in their file.
/// Empty if it could not be encoded; the connection is closed then.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    pieces: Vec<Piece>,
}

impl Frame {
    pub(crate) fn push(&mut self, piece: Piece) {
        if !piece.is_empty() {
            self.pieces.push(piece);
        }
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Piece::len).sum()
    }

    /// Whether it could not be encoded.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// What to send, one behind the other.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// All of it in memory.
    ///
    /// # Errors
    /// What the file system says.
    pub fn into_bytes(mut self) -> io::Result<Bytes> {
        if self.pieces.len() == 1 {
            return self.pieces.remove(0).into_bytes();
        }
        let mut bytes = BytesMut::with_capacity(self.len());
        for piece in self.pieces {
            bytes.extend_from_slice(&piece.into_bytes()?);
        }
        Ok(bytes.freeze())
    }
}

impl From<Bytes> for Frame {
    fn from(bytes: Bytes) -> Self {
        let mut frame = Self::default();
        frame.push(bytes.into());
        frame
    }
}
