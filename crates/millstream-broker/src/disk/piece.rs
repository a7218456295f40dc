//! Bytes on their way from a file to a client.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

/// Bytes to be sent.
#[derive(Clone, Debug)]
pub enum Piece {
    /// They are here.
    Bytes(Bytes),
    /// They lie in an open file, which keeps them even if its name is taken away. What is in a log
    /// never changes, so that it does not matter when they are read.
    File {
        /// The file.
        file: Arc<File>,
        /// Place of the first byte.
        at: u64,
        /// How many.
        len: usize,
    },
}

impl Piece {
    /// How many bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File { len, .. } => *len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, read if need be.
    ///
    /// # Errors
    /// What the file system says.
    pub fn into_bytes(self) -> io::Result<Bytes> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::File { file, at, len } => {
                let mut bytes = BytesMut::zeroed(len);
                file.read_exact_at(&mut bytes, at)?;
                Ok(bytes.freeze())
            }
        }
    }
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}
