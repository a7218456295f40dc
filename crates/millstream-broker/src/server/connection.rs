//! One connection: frames in, answers out.

use std::fs::File;
use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::server::TlsStream;

use super::{Pending, Shared};
use crate::broker::Peer;
use crate::disk::Piece;
use crate::group::Ticket;
use crate::wire::{Frame, Malformed};

/// Read ahead at most so much while an answer is awaited: enough to notice that the client is
/// gone, not enough to fill the memory.
const READ_AHEAD_MAX: usize = 64 * 1024;
/// Memory is reserved in steps of this size as bytes arrive: a frame that states a length
/// without sending it reserves nothing more.
const RESERVE_STEP: usize = 256 * 1024;

/// A buffer that has held a larger frame is not kept: a connection that once sent a hundred
/// megabytes would hold them until it is closed.
const KEEP_MAX: usize = 1024 * 1024;
/// What goes from a file to a socket in one call, before others have their turn.
#[cfg(target_os = "linux")]
const SEND_FILE_MAX: usize = 1024 * 1024;
/// What is read of a file at once where it has to be.
const COPY_MAX: usize = 64 * 1024;
/// A client that takes nothing of its answer for so long is given up.
const SEND_MAX: Duration = Duration::from_secs(60);
/// So long a client may take to say who it is.
const STRANGER_MAX: Duration = Duration::from_secs(30);

/// Why a connection is closed by us.
#[derive(Debug, thiserror::Error)]
pub(super) enum Closed {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("a frame of {0} bytes; {2} allows {1}")]
    FrameSize(i32, usize, &'static str),
    #[error("the connection was closed inside a frame")]
    CutOff,
    #[error("no request for connections.max.idle.ms")]
    Idle,
    #[error("the client does not read its answer")]
    NotReading,
    #[error("records at {at} of their log's file cannot be read: {source}")]
    Unreadable { at: u64, source: io::Error },
    #[error("{0}")]
    Refused(String),
    #[error("TLS was not agreed upon: {0}")]
    Tls(String),
    #[error("authentication failed: {0}")]
    Unauthenticated(String),
    #[error("nobody said within {} s who it is", STRANGER_MAX.as_secs())]
    Stranger,
}

impl Closed {
    /// Whether the disk is at fault.
    pub(super) fn is_about_disk(&self) -> bool {
        matches!(self, Self::Unreadable { .. })
    }

    /// Whether the owner of the broker wants to know of it.
    pub(super) fn is_about_security(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::Unauthenticated(_) | Self::Stranger)
    }
}

/// A stream of bytes in both directions.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Sends some of the `len` bytes from `at` on, and says how many; 0 if the file ends there.
    async fn send_file(&mut self, file: &File, at: u64, len: usize) -> io::Result<usize>;

    /// Between `true` and `false` what is sent goes out in full packets, and at the end the rest: the
    /// pieces of an answer would each wake the client. Best effort.
    fn cork(&self, _on: bool) {}
}

impl Stream for TcpStream {
    /// The bytes go from the page cache into the socket without being copied here.
    #[cfg(target_os = "linux")]
    async fn send_file(&mut self, file: &File, at: u64, len: usize) -> io::Result<usize> {
        loop {
            self.writable().await?;
            let mut from = at;
            let sent = self.try_io(tokio::io::Interest::WRITABLE, || {
                Ok(rustix::fs::sendfile(&*self, file, Some(&mut from), len.min(SEND_FILE_MAX))?)
            });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Not every file system can, nor every sandbox.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
                    ) =>
                {
                    return send_copy(self, file, at, len).await;
                }
                sent => return sent,
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    async fn send_file(&mut self, file: &File, at: u64, len: usize) -> io::Result<usize> {
        send_copy(self, file, at, len).await
    }

    #[cfg(target_os = "linux")]
    fn cork(&self, on: bool) {
        let _ = rustix::net::sockopt::set_tcp_cork(self, on);
    }
}

impl Stream for TlsStream<TcpStream> {
    async fn send_file(&mut self, file: &File, at: u64, len: usize) -> io::Result<usize> {
        send_copy(self, file, at, len).await
    }
}

/// [`Stream::send_file`] by reading and writing: for TLS, and where the system has nothing better.
async fn send_copy(
    stream: &mut (impl AsyncWrite + Unpin),
    file: &File,
    at: u64,
    len: usize,
) -> io::Result<usize> {
    let mut bytes = vec![0; len.min(COPY_MAX)];
    let read = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut bytes, at))?;
    if read == 0 {
        return Ok(0);
    }
    stream.write(&bytes[..read]).await
}

/// Serves a connection until the client closes it.
pub(super) async fn serve<S: Stream>(
    shared: &Shared,
    mut stream: S,
    mut peer: Peer,
) -> Result<(), Closed> {
    let mut buffer = BytesMut::new();
    let known_by = shared.clock.monotonic() + STRANGER_MAX;
    loop {
        let frame = if peer.is_stranger() {
            let left = known_by.saturating_sub(shared.clock.monotonic());
            let limit = shared.idle_max.map_or(left, |idle| idle.min(left));
            let next = read_frame(shared, &peer, &mut stream, &mut buffer);
            tokio::time::timeout(limit, next).await.map_err(|_| Closed::Stranger)??
        } else {
            let next = read_frame(shared, &peer, &mut stream, &mut buffer);
            match shared.idle_max {
                Some(limit) => {
                    tokio::time::timeout(limit, next).await.map_err(|_| Closed::Idle)??
                }
                None => next.await?,
            }
        };
        let Some(frame) = frame else { return Ok(()) };
        match shared.handle(frame, &mut peer)? {
            Pending::Answer(answer) => send(shared, &mut stream, &answer).await?,
            Pending::Nothing => {}
            Pending::Close(reason) => return Err(Closed::Refused(reason)),
            Pending::Unauthenticated(answer, reason) => {
                // Whoever guesses passwords waits for each answer.
                tokio::time::sleep(shared.failure_delay).await;
                if !answer.is_empty() {
                    send(shared, &mut stream, &answer.into()).await?;
                    let _ = tokio::time::timeout(SEND_MAX, stream.shutdown()).await;
                }
                return Err(Closed::Unauthenticated(reason));
            }
            Pending::Wait(ticket, receiver) => {
                match wait(shared, &mut stream, &mut buffer, ticket, receiver).await? {
                    Some(answer) => send(shared, &mut stream, &answer).await?,
                    None => return Ok(()),
                }
            }
        }
    }
}

async fn send<S: Stream>(shared: &Shared, stream: &mut S, answer: &Frame) -> Result<(), Closed> {
    if answer.is_empty() {
        return Err(Closed::Refused("the answer could not be encoded".into()));
    }
    // Counted from the last progress: a slow client is not a silent one.
    let limit = shared.idle_max.map_or(SEND_MAX, |idle| idle.min(SEND_MAX));
    let in_pieces = answer.pieces().len() > 1;
    if in_pieces {
        stream.cork(true);
    }
    for piece in answer.pieces() {
        let mut done = 0;
        while done < piece.len() {
            let sent = match piece {
                Piece::Bytes(bytes) => {
                    tokio::time::timeout(limit, stream.write(&bytes[done..])).await
                }
                Piece::File { file, at, len } => {
                    // The socket's budget does not count these.
                    tokio::task::yield_now().await;
                    let at = at + done as u64;
                    let sent =
                        tokio::time::timeout(limit, stream.send_file(file, at, len - done)).await;
                    match sent {
                        Ok(Ok(0)) => {
                            let source = io::ErrorKind::UnexpectedEof.into();
                            return Err(Closed::Unreadable { at, source });
                        }
                        Ok(Err(source)) if is_of_disk(&source) => {
                            return Err(Closed::Unreadable { at, source });
                        }
                        sent => sent,
                    }
                }
            };
            match sent.map_err(|_| Closed::NotReading)?? {
                0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                sent => done += sent,
            }
        }
    }
    if in_pieces {
        stream.cork(false);
    }
    // TLS may hold back the end of it.
    let flushed = tokio::time::timeout(limit, stream.flush()).await;
    Ok(flushed.map_err(|_| Closed::NotReading)??)
}

/// A socket has no such error.
fn is_of_disk(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// The next frame without its length; `None` when the client has closed the connection.
async fn read_frame<S: Stream>(
    shared: &Shared,
    peer: &Peer,
    stream: &mut S,
    buffer: &mut BytesMut,
) -> Result<Option<Bytes>, Closed> {
    let (frame_max, setting) = match peer.is_authenticating() {
        true => (shared.strangers_frame_max, "sasl.server.max.receive.size"),
        false => (shared.frame_max, "socket.request.max.bytes"),
    };
    loop {
        let mut missing = 4usize.saturating_sub(buffer.len());
        if missing == 0 {
            let stated = i32::from_be_bytes(buffer[..4].try_into().expect("four bytes"));
            let length = usize::try_from(stated)
                .ok()
                .filter(|length| *length <= frame_max)
                .ok_or(Closed::FrameSize(stated, frame_max, setting))?;
            missing = (4 + length).saturating_sub(buffer.len());
            if missing == 0 {
                return Ok(Some(take_frame(buffer, length)));
            }
        }
        buffer.reserve(missing.clamp(4096, RESERVE_STEP));
        if stream.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err(Closed::CutOff) };
        }
    }
}

/// Splits a frame off, which is there with its length in front.
fn take_frame(buffer: &mut BytesMut, length: usize) -> Bytes {
    buffer.advance(4);
    let frame = buffer.split_to(length).freeze();
    if length > KEEP_MAX {
        // What is left still holds on to the whole; it is a piece of the next request at most.
        *buffer = BytesMut::from(&buffer[..]);
    }
    frame
}

/// Waits for the broker's answer; `None` when the client goes away meanwhile.
async fn wait<S: Stream>(
    shared: &Shared,
    stream: &mut S,
    buffer: &mut BytesMut,
    ticket: Ticket,
    mut receiver: oneshot::Receiver<Frame>,
) -> Result<Option<Frame>, Closed> {
    loop {
        let may_read = buffer.len() < READ_AHEAD_MAX;
        if may_read {
            buffer.reserve(4096);
        }
        tokio::select! {
            answer = &mut receiver => return Ok(answer.ok()),
            read = stream.read_buf(buffer), if may_read => {
                if !matches!(read, Ok(1..)) {
                    shared.cancel(ticket);
                    return read.map(|_| None).map_err(Closed::from);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_frame_leaves_no_large_buffer() {
        for rest in [&b""[..], b"rest"] {
            let length = 8 * KEEP_MAX;
            let mut buffer = BytesMut::zeroed(4 + length);
            buffer.extend_from_slice(rest);
            let frame = take_frame(&mut buffer, length);
            assert_eq!((frame.len(), &buffer[..]), (length, rest));
            drop(frame);
            // A reservation takes back what the frame has held, if the buffer still can.
            buffer.reserve(4096);
            assert!(buffer.capacity() < KEEP_MAX, "{}", buffer.capacity());
        }
    }
}
