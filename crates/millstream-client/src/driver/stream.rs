//! A connection's bytes: plain, or through TLS.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;

use mio::net::TcpStream;

/// What the bytes go through.
#[derive(Debug)]
pub(super) enum Stream {
    /// Nothing.
    Plain(TcpStream),
}

impl Stream {
    /// Reads into `buffer`; 0 at the end of the stream.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
        }
    }

    /// Appends up to `max` bytes to `buffer`'s spare room, which is not zeroed first where the
    /// kernel writes into it.
    pub(super) fn read_into(&mut self, buffer: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => {
                buffer.reserve(max);
                let spare: &mut [MaybeUninit<u8>] = &mut buffer.spare_capacity_mut()[..max];
                let (filled, _) =
                    rustix::net::recv(&*stream, spare, rustix::net::RecvFlags::empty())?.0;
                let read = filled.len();
                let length = buffer.len() + read;
                // SAFETY: `recv` has initialised the first `read` bytes of the spare room, which
                // begins at the old length.
                unsafe { buffer.set_len(length) };
                Ok(read)
            }
        }
    }

    /// Writes some of `bytes`.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
        }
    }

    /// The socket, to wait on.
    pub(super) fn socket(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(stream) => stream,
        }
    }
}
