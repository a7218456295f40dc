//! A connection's bytes: plain, or through TLS.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;

use mio::net::TcpStream;

use super::tls::TlsStream;

/// What the bytes go through.
#[derive(Debug)]
pub(super) enum Stream {
    /// Nothing.
    Plain(TcpStream),
    /// TLS.
    Tls(TlsStream),
}

impl Stream {
    /// Goes on with what is to be done before bytes of ours can be sent, until it is done.
    pub(super) fn handshake(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.handshake(),
        }
    }

    /// Reads into `buffer`; 0 at the end of the stream.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
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
            Self::Tls(stream) => {
                // A record has 16 KiB, so that more room is not filled at once anyway.
                let length = buffer.len();
                buffer.resize(length + max.min(RECORD_MAX), 0);
                let done = stream.read(&mut buffer[length..]);
                buffer.truncate(length + done.as_ref().copied().unwrap_or(0));
                done
            }
        }
    }

    /// Writes some of `bytes`.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    /// Whether bytes that were written still wait for the socket.
    pub(super) fn wants_write(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.wants_write(),
        }
    }

    /// Writes those.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
    }

    /// Tells the other side that this is the end, where there is a way to.
    pub(super) fn close(&mut self) {
        match self {
            Self::Plain(_) => {}
            Self::Tls(stream) => stream.close(),
        }
    }

    /// The socket, to wait on.
    pub(super) fn socket(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &mut stream.socket,
        }
    }
}

/// Most bytes that a TLS record has.
const RECORD_MAX: usize = 16 * 1024;
