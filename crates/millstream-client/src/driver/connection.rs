//! One connection: from the socket to whole frames, as far as it goes without waiting.
//!
//! The system tells once that a socket has become readable or writable, and not again before a
//! call has said that it would block. So both are remembered until then.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::stream::Stream;
use crate::network::{ConnectionId, Input};
use crate::wire::frame_length;

/// Bytes that one read asks for at most, so that a stated length costs no memory before as much
/// has arrived.
const READ_MAX: usize = 1 << 20;
/// What is read of one connection before the others have their turn.
const TURN_MAX: usize = 8 << 20;

/// How far the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The socket is being connected.
    Connecting,
    /// TLS is being negotiated.
    Handshaking,
    /// Frames go both ways.
    Open,
}

/// Whether there is more to do at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing before the socket is readable or writable again.
    Waits,
    /// The turn was over before the socket was empty.
    More,
}

/// A connection and what is under way on it.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) host: Arc<str>,
    address: SocketAddr,
    /// Addresses that were not tried yet.
    pub(super) addresses: VecDeque<SocketAddr>,
    /// Until when connecting to this one may take.
    pub(super) give_up_at: Option<Duration>,
    stream: Stream,
    stage: Stage,
    out: VecDeque<Bytes>,
    /// Bytes of the front of `out` that are written.
    written: usize,
    prefix: [u8; 4],
    prefix_len: usize,
    /// The frame that is arriving, and how long it will be.
    frame: Vec<u8>,
    expected: usize,
    pub(super) readable: bool,
    pub(super) writable: bool,
}

impl Connection {
    pub(super) fn new(
        id: ConnectionId,
        stream: Stream,
        host: Arc<str>,
        address: SocketAddr,
        addresses: VecDeque<SocketAddr>,
        give_up_at: Duration,
    ) -> Self {
        Self {
            id,
            host,
            address,
            addresses,
            give_up_at: Some(give_up_at),
            stream,
            stage: Stage::Connecting,
            out: VecDeque::new(),
            written: 0,
            prefix: [0; 4],
            prefix_len: 0,
            frame: Vec::new(),
            expected: 0,
            readable: false,
            writable: false,
        }
    }

    pub(super) fn is_connecting(&self) -> bool {
        self.stage == Stage::Connecting
    }

    /// The socket, to wait on.
    pub(super) fn socket(&mut self) -> &mut mio::net::TcpStream {
        self.stream.socket()
    }

    /// Takes a frame to be sent.
    pub(super) fn send(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.out.push_back(bytes);
        }
    }

    /// Whether [`go_on`](Self::go_on) has something to try.
    pub(super) fn is_due(&self) -> bool {
        let wants_write =
            self.stage != Stage::Open || !self.out.is_empty() || self.stream.wants_write();
        self.readable || self.writable && wants_write
    }

    /// Does what can be done without waiting; whole frames go to `inputs`.
    ///
    /// # Errors
    /// The connection has ended or could not be made.
    pub(super) fn go_on(
        &mut self,
        receive_max: usize,
        inputs: &mut Vec<Input>,
    ) -> io::Result<Progress> {
        if self.stage == Stage::Connecting && !self.finish_connecting()? {
            return Ok(Progress::Waits);
        }
        if self.stage == Stage::Handshaking {
            match self.stream.handshake() {
                Ok(()) => {
                    self.stage = Stage::Open;
                    inputs.push(Input::Connected { connection: self.id });
                    // Bytes may have been decrypted already, and either flag may have been used up.
                    (self.readable, self.writable) = (true, true);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // It tries both directions whichever becomes free.
                    (self.readable, self.writable) = (false, false);
                    return Ok(Progress::Waits);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    return Ok(Progress::More);
                }
                Err(error) => return Err(error),
            }
        }
        let written = self.write();
        // What has arrived is taken although writing may have failed: a broker that closes the
        // connection may have said why.
        let more = self.read(receive_max, inputs)?;
        written?;
        Ok(if more { Progress::More } else { Progress::Waits })
    }

    /// Whether the socket is connected now.
    fn finish_connecting(&mut self) -> io::Result<bool> {
        let failed = |address, error: io::Error| {
            io::Error::new(error.kind(), format!("cannot connect to {address}: {error}"))
        };
        let socket = self.stream.socket();
        if let Ok(Some(error)) | Err(error) = socket.take_error() {
            return Err(failed(self.address, error));
        }
        match socket.peer_addr() {
            Ok(_) => {
                self.stage = Stage::Handshaking;
                self.give_up_at = None;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                (self.readable, self.writable) = (false, false);
                Ok(false)
            }
            Err(error) => Err(failed(self.address, error)),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while self.writable {
            let done = match self.out.front() {
                Some(front) => self.stream.write(&front[self.written..]),
                None if self.stream.wants_write() => self.stream.flush().map(|()| 0),
                None => break,
            };
            match done {
                Ok(0) if !self.out.is_empty() => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.written += written;
                    if self.out.front().is_some_and(|front| front.len() == self.written) {
                        self.written = 0;
                        self.out.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(with("cannot write", error)),
            }
        }
        Ok(())
    }

    /// Reads whole frames into `inputs`. Returns whether there may be more to read at once.
    fn read(&mut self, receive_max: usize, inputs: &mut Vec<Input>) -> io::Result<bool> {
        let malformed = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let mut turn = 0;
        while self.readable && turn < TURN_MAX {
            let done = if self.prefix_len < 4 {
                self.stream.read(&mut self.prefix[self.prefix_len..]).inspect(|read| {
                    self.prefix_len += read;
                })
            } else {
                let missing = self.expected - self.frame.len();
                self.stream.read_into(&mut self.frame, missing.min(READ_MAX))
            };
            match done {
                Ok(0) => {
                    let reason = match self.prefix_len {
                        0 => "the broker has closed the connection",
                        _ => "the broker has closed the connection within a response",
                    };
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
                }
                Ok(read) => turn += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(with("cannot read", error)),
            }
            if self.prefix_len == 4 && self.expected == 0 {
                self.expected = frame_length(self.prefix, receive_max)
                    .map_err(|error| malformed(error.to_string()))?;
                if self.expected == 0 {
                    return Err(malformed("an empty response".into()));
                }
                // No more than this before it has arrived, whatever the length says.
                self.frame.reserve(self.expected.min(READ_MAX));
            }
            if self.prefix_len == 4 && self.frame.len() == self.expected {
                let frame = Bytes::from(std::mem::take(&mut self.frame));
                inputs.push(Input::Frame { connection: self.id, frame });
                self.prefix_len = 0;
                self.expected = 0;
            }
        }
        Ok(self.readable)
    }

    /// Sends what can be sent without waiting, and ends the stream.
    pub(super) fn close(&mut self) {
        if self.stage == Stage::Open {
            self.writable = true;
            if self.write().is_ok() && self.out.is_empty() {
                self.stream.close();
            }
        }
    }
}

/// An error of the system, with what was tried. One of TLS speaks for itself.
fn with(tried: &str, error: io::Error) -> io::Error {
    match error.get_ref() {
        Some(_) => error,
        None => io::Error::new(error.kind(), format!("{tried}: {error}")),
    }
}

#[cfg(test)]
mod tests;
