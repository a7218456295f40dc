//! One connection: frames in, answers out.

use std::io;
use std::net::SocketAddr;

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
            Pending::Answer(answer) => send(&mut stream, &answer).await?,
            Pending::Nothing => {}
            Pending::Close(reason) => return Err(Closed::Refused(reason)),
            Pending::Wait(ticket, receiver) => {
                match wait(shared, &mut stream, &mut buffer, ticket, receiver).await? {
                    Some(answer) => send(&mut stream, &answer).await?,
                    None => return Ok(()),
                }
            }
        }
    }
}

async fn send(stream: &mut TcpStream, answer: &[u8]) -> Result<(), Closed> {
    if answer.is_empty() {
        return Err(Closed::Refused("the answer could not be encoded".into()));
    }
    Ok(stream.write_all(answer).await?)
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
                buffer.advance(4);
                return Ok(Some(buffer.split_to(length).freeze()));
            }
        }
        buffer.reserve(missing.clamp(4096, RESERVE_STEP));
        if stream.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err(Closed::CutOff) };
        }
    }
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
