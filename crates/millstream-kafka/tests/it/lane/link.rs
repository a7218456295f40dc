//! One connection of a lane: a reader and a writer for each direction.

#![expect(clippy::disallowed_methods, reason = "real sockets, on threads, in real time")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::pretence::{Pretence, Verdict};
use super::{Shared, State, Way};

/// Waits so long.
pub(super) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

pub(super) struct Link {
    client: TcpStream,
    broker: TcpStream,
    frozen: AtomicBool,
    /// Behind how many bytes of which direction it ends.
    cut: Option<(Way, u64)>,
    pretence: Option<Mutex<Pretence>>,
}

/// What a reader hands to a writer.
enum Piece {
    Bytes(Instant, Vec<u8>),
    Cut,
}

impl Link {
    /// Nothing more passes.
    pub(super) fn freeze(&self) {
        self.frozen.store(true, Ordering::Relaxed);
    }

    /// Ends it for both.
    pub(super) fn close(&self) {
        // Whoever has closed already is closed.
        drop(self.client.shutdown(Shutdown::Both));
        drop(self.broker.shutdown(Shutdown::Both));
    }

    fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Relaxed)
    }
}

/// Where the next connection is cut: half of the places are in its first 128 bytes, where it
/// is negotiated, the others as far as 16 KiB.
fn draw_cut(state: &mut State) -> Option<(Way, u64)> {
    state.cuts_left = state.cuts_left.checked_sub(1)?;
    // Xorshift: a seed that is not 0 never gets there.
    let mut draw = || {
        state.random ^= state.random << 13;
        state.random ^= state.random >> 7;
        state.random ^= state.random << 17;
        state.random >> 11
    };
    let way = if draw() % 2 == 0 { Way::ToBroker } else { Way::ToClient };
    let bits = 1 + draw() % 14;
    Some((way, draw() % (1 << bits)))
}

pub(super) fn open(shared: &Arc<Shared>, client: TcpStream, broker: TcpStream) {
    let mut state = shared.lock();
    let frozen = state.mute > 0;
    state.mute -= u32::from(frozen);
    let link = Arc::new(Link {
        frozen: AtomicBool::new(frozen),
        cut: draw_cut(&mut state),
        pretence: (state.pretend.is_some() || state.throttle.is_some())
            .then(|| Mutex::new(Pretence::new(state.pretend, state.throttle))),
        client: client.try_clone().unwrap(),
        broker: broker.try_clone().unwrap(),
    });
    for socket in [&client, &broker] {
        socket.set_nodelay(true).unwrap();
    }
    state.links.push(Arc::clone(&link));
    drop(state);
    let (to_broker, for_broker) = mpsc::channel();
    let (to_client, for_client) = mpsc::channel();
    let ways = [
        (Way::ToBroker, client.try_clone().unwrap(), to_broker, to_client.clone()),
        (Way::ToClient, broker.try_clone().unwrap(), to_client.clone(), to_client),
    ];
    for (way, from, on, back) in ways {
        let reader = Reader { way, shared: Arc::clone(shared), link: Arc::clone(&link), on, back };
        std::thread::spawn(move || reader.run(from));
    }
    for (to, pieces) in [(broker, for_broker), (client, for_client)] {
        let (shared, link) = (Arc::clone(shared), Arc::clone(&link));
        std::thread::spawn(move || write(&shared, &link, to, &pieces));
    }
}

struct Reader {
    way: Way,
    shared: Arc<Shared>,
    link: Arc<Link>,
    on: Sender<Piece>,
    /// To the client, for answers that do not come from the broker.
    back: Sender<Piece>,
}

impl Reader {
    fn run(self, mut from: TcpStream) {
        let (mut passed, mut partial) = (0, Vec::new());
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if self.link.is_frozen() {
                continue;
            }
            let mut bytes = buffer[..count].to_vec();
            if let Some(pretence) = &self.link.pretence {
                partial.extend_from_slice(&bytes);
                bytes = self.frames(&mut pretence.lock().unwrap(), &mut partial);
            }
            passed += bytes.len() as u64;
            match self.link.cut {
                Some((way, at)) if way == self.way && passed > at => {
                    bytes.truncate(bytes.len() - (passed - at) as usize);
                    self.send(&self.on, bytes);
                    drop(self.on.send(Piece::Cut));
                    return;
                }
                _ => self.send(&self.on, bytes),
            }
        }
        let mut state = self.shared.lock();
        if self.way == Way::ToBroker {
            state.given_up += usize::from(self.link.is_frozen() && !state.closed);
        }
        state.links.retain(|link| !Arc::ptr_eq(link, &self.link));
        drop(state);
        if self.link.is_frozen() {
            self.link.close();
        }
    }

    fn send(&self, to: &Sender<Piece>, bytes: Vec<u8>) {
        let delay = self.shared.lock().delay;
        let late = delay.filter(|delay| delay.0 == self.way).map_or(Duration::ZERO, |late| late.1);
        // A writer that is gone has closed the connection.
        drop(to.send(Piece::Bytes(Instant::now() + late, bytes)));
    }

    /// Takes complete frames off `partial` and returns what is to be passed on of them.
    fn frames(&self, pretence: &mut Pretence, partial: &mut Vec<u8>) -> Vec<u8> {
        let mut on = Vec::new();
        while let Some(size) = partial.first_chunk().map(|size| u32::from_be_bytes(*size) as usize)
        {
            if partial.len() < 4 + size {
                break;
            }
            let frame: Vec<u8> = partial.drain(..4 + size).skip(4).collect();
            let verdict = match self.way {
                Way::ToBroker => pretence.request(frame, Instant::now()),
                Way::ToClient => pretence.response(frame, Instant::now()),
            };
            let framed = |frame: &[u8]| [&(frame.len() as u32).to_be_bytes(), frame].concat();
            match verdict {
                Verdict::Pass(frame) => on.extend(framed(&frame)),
                Verdict::Rewritten(frame) => {
                    self.shared.lock().rewritten += 1;
                    on.extend(framed(&frame));
                }
                Verdict::Answer(frame) => self.send(&self.back, framed(&frame)),
                Verdict::Refuse(what) => {
                    // For whoever waits in vain because of it.
                    eprintln!("REFUSED: {what}");
                    self.shared.lock().refused.push(what);
                    self.link.close();
                }
            }
        }
        on
    }
}

fn write(shared: &Shared, link: &Link, mut to: TcpStream, pieces: &Receiver<Piece>) {
    for piece in pieces {
        let Piece::Bytes(due, bytes) = piece else { return link.close() };
        pause(due.saturating_duration_since(Instant::now()));
        let rate = shared.lock().bytes_per_second;
        // Twenty slices a second.
        let slice = rate.map_or(usize::MAX, |rate| (rate / 20).max(1) as usize);
        for part in bytes.chunks(slice) {
            if link.is_frozen() {
                break;
            }
            if to.write_all(part).is_err() {
                return link.close();
            }
            if rate.is_some() {
                pause(Duration::from_millis(50));
            }
        }
    }
    drop(to.shutdown(Shutdown::Write));
}
