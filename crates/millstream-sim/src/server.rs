//! The embedded broker as a process: what its own server does with sockets and timers, done with
//! the simulated ones. The requests of a connection are answered in order, the next is handed in
//! after the answer to the one before; whoever hangs up takes his waiting request along.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use millstream_broker::{Broker, BrokerConfig, Frame, Reply, Ticket};

use crate::disk::SimDisk;
use crate::kernel::{Fate, Happening, Process};
use crate::network::ConnId;
use crate::random::SplitMix64;
use crate::world::Host;

/// The broker's name in the simulation.
pub const NAME: &str = "broker";
/// The port that it says it has.
pub const PORT: u16 = 9092;
/// Kafka's `socket.request.max.bytes`.
const FRAME_MAX: usize = 100 << 20;

#[derive(Default)]
struct Connection {
    buffer: BytesMut,
    waiting: Option<Ticket>,
}

/// A broker's process.
pub struct Server {
    config: BrokerConfig,
    disk: SimDisk,
    random: SplitMix64,
    boot_id: String,
    broker: Option<Broker>,
    connections: BTreeMap<ConnId, Connection>,
    waiting: BTreeMap<Ticket, ConnId>,
}

impl Server {
    /// A process that has not started yet. `boots` counts the boots of its machine.
    pub fn new(config: BrokerConfig, disk: SimDisk, random: SplitMix64, boots: u32) -> Self {
        Self {
            config,
            disk,
            random,
            boot_id: format!("boot-{boots}"),
            broker: None,
            connections: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    fn start(&mut self, host: &Host) {
        let opened = Broker::open(
            &self.config,
            &[SocketAddr::from(([127, 0, 0, 1], PORT))],
            Arc::new(self.disk.clone()),
            host.clock(),
            Box::new(self.random.clone()),
            &self.boot_id,
        );
        match opened {
            Ok(broker) => self.broker = Some(broker),
            Err(_) if self.disk.is_dead() => {}
            Err(error) => host.violation(format!("the broker does not start: {error}")),
        }
    }

    /// Hands in what whole frames a connection has, up to one that waits for its answer.
    fn pump(&mut self, id: ConnId, host: &Host) {
        loop {
            let (Some(broker), Some(connection)) =
                (&mut self.broker, self.connections.get_mut(&id))
            else {
                return;
            };
            if connection.waiting.is_some() || self.disk.is_dead() {
                return;
            }
            let frame = match take_frame(&mut connection.buffer) {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(stated) => {
                    host.violation(format!("c{id}: a client sent a frame of {stated} bytes"));
                    return;
                }
            };
            let reply = broker.handle(frame, "10.0.0.1");
            if self.disk.is_dead() {
                return;
            }
            match reply {
                Ok(Reply::Now(answer)) => self.answer(id, answer, host),
                Ok(Reply::Later(ticket)) => {
                    connection.waiting = Some(ticket);
                    self.waiting.insert(ticket, id);
                }
                Ok(Reply::Nothing) => {}
                Ok(Reply::Unauthenticated { reason, .. }) => {
                    host.violation(format!("c{id}: the broker asks who it is: {reason}"));
                    self.hang_up(id, host);
                }
                Ok(Reply::Close(why)) => {
                    host.trace(format_args!("c{id} is closed by the broker: {why}"));
                    self.hang_up(id, host);
                }
                Err(malformed) => {
                    host.violation(format!("c{id}: the broker refuses a frame: {malformed}"));
                }
            }
            self.deliver(host);
        }
    }

    fn answer(&mut self, id: ConnId, answer: Frame, host: &Host) {
        if answer.is_empty() {
            host.violation(format!("c{id}: an answer could not be encoded"));
        }
        // It is in memory: a simulated file has no handle.
        match answer.into_bytes() {
            Ok(bytes) => host.send(id, bytes),
            Err(error) => host.violation(format!("c{id}: an answer cannot be read: {error}")),
        }
    }

    /// Hands out answers that have become due, and goes on with the connections that they were for.
    fn deliver(&mut self, host: &Host) {
        let Some(broker) = &mut self.broker else { return };
        let mut free = Vec::new();
        for (ticket, answer) in broker.take_answers() {
            if let Some(id) = self.waiting.remove(&ticket) {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.waiting = None;
                }
                free.push((id, answer));
            }
        }
        for (id, answer) in free {
            self.answer(id, answer, host);
            self.pump(id, host);
        }
    }

    fn hang_up(&mut self, id: ConnId, host: &Host) {
        host.close(id);
        self.forget(id);
    }

    fn forget(&mut self, id: ConnId) {
        let gone = self.connections.remove(&id);
        if let (Some(ticket), Some(broker)) =
            (gone.and_then(|connection| connection.waiting), &mut self.broker)
        {
            self.waiting.remove(&ticket);
            broker.cancel(ticket);
        }
    }
}

/// Splits a whole frame off, without its length. The length of one that is too long is an error.
pub(crate) fn take_frame(buffer: &mut BytesMut) -> Result<Option<Bytes>, i32> {
    let Some(length) = buffer.get(..4) else { return Ok(None) };
    let stated = i32::from_be_bytes(length.try_into().expect("four bytes"));
    let length = usize::try_from(stated).ok().filter(|length| *length <= FRAME_MAX);
    let length = length.ok_or(stated)?;
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    buffer.advance(4);
    Ok(Some(buffer.split_to(length).freeze()))
}

impl Process for Server {
    fn step(&mut self, what: Happening, host: &Host) -> Fate {
        match what {
            Happening::Started => self.start(host),
            Happening::Called(id) => {
                self.connections.insert(id, Connection::default());
            }
            Happening::Bytes(id, bytes) => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.buffer.extend_from_slice(&bytes);
                    self.pump(id, host);
                }
            }
            Happening::Closed(id, _) => self.forget(id),
            Happening::Timer => {
                if let Some(broker) = &mut self.broker
                    && broker.next_deadline() <= host.monotonic()
                {
                    broker.tick();
                    if !self.disk.is_dead() {
                        self.deliver(host);
                    }
                }
            }
            Happening::Connected(_) => {}
        }
        if self.disk.is_dead() {
            return Fate::Died;
        }
        if let Some(broker) = &self.broker {
            host.wake_at(broker.next_deadline());
        }
        Fate::Alive
    }

    fn stop(&mut self, host: &Host) -> bool {
        let Some(mut broker) = self.broker.take() else { return false };
        match broker.close() {
            Ok(()) => true,
            Err(_) if self.disk.is_dead() => false,
            Err(error) => {
                host.violation(format!("the broker does not stop well: {error}"));
                false
            }
        }
    }
}
