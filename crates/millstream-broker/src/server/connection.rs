//! One connection: frames in, answers out.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::{Pending, Shared};
use crate::group::Ticket;
use crate::wire::Malformed;

/// Read ahead at most so much while an answer is awaited: enough to notice that the client is
/// gone, not enough to fill the memory.
const READ_AHEAD_MAX: usize = 64 * 1024;
/// Memory is reserved in steps of this size as bytes arrive: a frame that states a length
/// without sending it reserves nothing more.
const RESERVE_STEP: usize = 256 * 1024;

/// A buffer that has held a larger frame is not kept: a connection that once sent a hundred
/// megabytes would hold them until it is closed.
const KEEP_MAX: usize = 1024 * 1024;
/// A client that takes nothing of its answer for so long is given up.
const SEND_MAX: Duration = Duration::from_secs(60);

/// Why a connection is closed by us.
#[derive(Debug, thiserror::Error)]
pub(super) enum Closed {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("a frame of {0} bytes; socket.request.max.bytes allows {1}")]
    FrameSize(i32, usize),
    #[error("the connection was closed inside a frame")]
    CutOff,
    #[error("no request for connections.max.idle.ms")]
    Idle,
    #[error("the client does not read its answer")]
    NotReading,
    #[error("{0}")]
    Refused(String),
}

/// Serves a connection until the client closes it.
pub(super) async fn serve(
    shared: &Shared,
    mut stream: TcpStream,
    peer: SocketAddr,
) -> Result<(), Closed> {
    stream.set_nodelay(true)?;
    let host = peer.ip().to_string();
    let mut buffer = BytesMut::new();
    loop {
        let next = read_frame(shared, &mut stream, &mut buffer);
        let frame = match shared.idle_max {
            Some(limit) => tokio::time::timeout(limit, next).await.map_err(|_| Closed::Idle)??,
            None => next.await?,
        };
        let Some(frame) = frame else { return Ok(()) };
        match shared.handle(frame, &host)? {
            Pending::Answer(answer) => send(shared, &mut stream, &answer).await?,
            Pending::Nothing => {}
            Pending::Close(reason) => return Err(Closed::Refused(reason)),
            Pending::Wait(ticket, receiver) => {
                match wait(shared, &mut stream, &mut buffer, ticket, receiver).await? {
                    Some(answer) => send(shared, &mut stream, &answer).await?,
                    None => return Ok(()),
                }
            }
        }
    }
}

async fn send(shared: &Shared, stream: &mut TcpStream, answer: &[u8]) -> Result<(), Closed> {
    if answer.is_empty() {
        return Err(Closed::Refused("the answer could not be encoded".into()));
    }
    // Counted from the last progress: a slow client is not a silent one.
    let limit = shared.idle_max.map_or(SEND_MAX, |idle| idle.min(SEND_MAX));
    let mut rest = answer;
    while !rest.is_empty() {
        let written = tokio::time::timeout(limit, stream.write(rest)).await;
        match written.map_err(|_| Closed::NotReading)?? {
            0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            written => rest = &rest[written..],
        }
    }
    Ok(())
}

/// The next frame without its length; `None` when the client has closed the connection.
async fn read_frame(
    shared: &Shared,
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
) -> Result<Option<Bytes>, Closed> {
    loop {
        let mut missing = 4usize.saturating_sub(buffer.len());
        if missing == 0 {
            let stated = i32::from_be_bytes(buffer[..4].try_into().expect("four bytes"));
            let length = usize::try_from(stated)
                .ok()
                .filter(|length| *length <= shared.frame_max)
                .ok_or(Closed::FrameSize(stated, shared.frame_max))?;
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
async fn wait(
    shared: &Shared,
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    ticket: Ticket,
    mut receiver: oneshot::Receiver<Bytes>,
) -> Result<Option<Bytes>, Closed> {
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
