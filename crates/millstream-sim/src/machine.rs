//! A client machine as a process: carries out its [`Action`]s on the simulated network and reports
//! what comes of them, as the client's own driver does on sockets.

use std::collections::BTreeMap;

use bytes::BytesMut;
use millstream_client::{Action, ConnectionId, Input, Machine, NoToken, Now};

use crate::kernel::{Fate, Happening, Process};
use crate::network::ConnId;
use crate::server::{PORT, take_frame};
use crate::world::Host;

/// Runs a machine. `look` sees it after each step and says whether its work is done.
pub struct MachineProcess<M, L> {
    machine: M,
    look: L,
    ids: BTreeMap<ConnectionId, ConnId>,
    lines: BTreeMap<ConnId, (ConnectionId, BytesMut)>,
}

impl<M: Machine, L: FnMut(&mut M, &Host) -> bool> MachineProcess<M, L> {
    /// A process around `machine`.
    pub fn new(machine: M, look: L) -> Self {
        Self { machine, look, ids: BTreeMap::new(), lines: BTreeMap::new() }
    }

    fn act(&mut self, action: Action, host: &Host, failed: &mut Vec<Input>) {
        match action {
            Action::Connect { connection, host: name, port } => match host.find(&name) {
                Some(to) if port == PORT => {
                    let id = host.connect(to);
                    self.ids.insert(connection, id);
                    self.lines.insert(id, (connection, BytesMut::new()));
                }
                _ => failed.push(Input::Closed {
                    connection,
                    reason: format!("{name}:{port} is nobody here"),
                    tls: false,
                }),
            },
            Action::Send { connection, bytes } => {
                if let Some(id) = self.ids.get(&connection) {
                    host.send(*id, bytes);
                }
            }
            Action::Close { connection } => {
                if let Some(id) = self.ids.remove(&connection) {
                    self.lines.remove(&id);
                    host.close(id);
                }
            }
            Action::FetchToken => failed.push(Input::Token(Err(NoToken {
                text: "nobody gives tokens here".into(),
                refused: true,
            }))),
        }
    }

    fn inputs(&mut self, what: Happening) -> Vec<Input> {
        let mut inputs = Vec::new();
        match what {
            Happening::Connected(id) => {
                inputs.extend(
                    self.lines
                        .get(&id)
                        .map(|(connection, _)| Input::Connected { connection: *connection }),
                );
            }
            Happening::Bytes(id, bytes) => {
                if let Some((connection, buffer)) = self.lines.get_mut(&id) {
                    buffer.extend_from_slice(&bytes);
                    while let Ok(Some(frame)) = take_frame(buffer) {
                        inputs.push(Input::Frame { connection: *connection, frame });
                    }
                }
            }
            Happening::Closed(id, why) => {
                if let Some((connection, _)) = self.lines.remove(&id) {
                    self.ids.remove(&connection);
                    inputs.push(Input::Closed { connection, reason: why.to_owned(), tls: false });
                }
            }
            Happening::Started | Happening::Called(_) | Happening::Timer => {}
        }
        inputs
    }
}

impl<M: Machine, L: FnMut(&mut M, &Host) -> bool> Process for MachineProcess<M, L> {
    fn step(&mut self, what: Happening, host: &Host) -> Fate {
        let now = Now { mono: host.monotonic(), wall: host.wall() };
        let mut inputs = self.inputs(what);
        loop {
            for input in inputs.drain(..) {
                self.machine.input(input, now);
            }
            self.machine.advance(now);
            while let Some(action) = self.machine.action() {
                self.act(action, host, &mut inputs);
            }
            if inputs.is_empty() {
                break;
            }
        }
        if (self.look)(&mut self.machine, host) {
            return Fate::Ended;
        }
        if let Some(deadline) = self.machine.next_deadline(now) {
            // A machine that asks for the present again and again must not stop the world.
            host.wake_at(deadline.max(now.mono + std::time::Duration::from_micros(1)));
        }
        Fate::Alive
    }
}
