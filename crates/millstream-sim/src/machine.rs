//! A client machine on the simulated network: carries out its [`Action`]s and reports what comes of
//! them, as the client's own driver does on sockets.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use millstream_client::admin::Await;
use millstream_client::driver::Wake;
use millstream_client::{Action, ConnectionId, Input, Machine, NoToken, Now};

use crate::kernel::Happening;
use crate::network::ConnId;
use crate::server::{PORT, take_frame};
use crate::world::Host;

/// Rung by a machine that has something for its front end.
#[derive(Default)]
pub(crate) struct Bell(AtomicBool);

impl Bell {
    /// Whether it was rung since the last time.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Wake for Bell {
    fn wake(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Await for Bell {
    /// Nothing here waits: its process is woken by what happens.
    fn wait(&self, _timeout: Duration) {}
}

/// What a host's time is for a machine.
pub(crate) fn now(host: &Host) -> Now {
    Now { mono: host.monotonic(), wall: host.wall() }
}

struct Line {
    connection: ConnectionId,
    buffer: BytesMut,
    /// How often the other host had lost its power when it was made; it does not outlive the next.
    era: u32,
}

/// Drives one machine.
pub(crate) struct Driver {
    machine: Arc<Mutex<dyn Machine>>,
    ids: BTreeMap<ConnectionId, ConnId>,
    lines: BTreeMap<ConnId, Line>,
    inputs: Vec<Input>,
    /// How many connections it has closed that the other end had not.
    hung_up: u64,
}

impl Driver {
    pub(crate) fn new(machine: Arc<Mutex<dyn Machine>>) -> Self {
        let (ids, lines, inputs) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { machine, ids, lines, inputs, hung_up: 0 }
    }

    fn machine(&self) -> MutexGuard<'_, dyn Machine + 'static> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The earliest era of its connections.
    pub(crate) fn oldest_era(&self) -> Option<u32> {
        self.lines.values().map(|line| line.era).min()
    }

    /// How many connections the machine has closed so far. What it had sent may arrive later,
    /// also after what it sends on the next one.
    pub(crate) fn hung_up(&self) -> u64 {
        self.hung_up
    }

    fn act(&mut self, action: Action, host: &Host) {
        match action {
            Action::Connect { connection, host: name, port } => match host.find(&name) {
                Some(to) if port == PORT => {
                    let id = host.connect(to);
                    self.ids.insert(connection, id);
                    let era = host.power_losses(to);
                    self.lines.insert(id, Line { connection, buffer: BytesMut::new(), era });
                }
                _ => self.inputs.push(Input::Closed {
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
                    self.hung_up += 1;
                    host.close(id);
                }
            }
            Action::FetchToken => self.inputs.push(Input::Token(Err(NoToken {
                text: "nobody gives tokens here".into(),
                refused: true,
            }))),
        }
    }

    /// Takes what has happened to the host, if it concerns this machine.
    pub(crate) fn take(&mut self, what: &Happening) {
        match what {
            Happening::Connected(id) => {
                let line = self.lines.get(id);
                self.inputs
                    .extend(line.map(|line| Input::Connected { connection: line.connection }));
            }
            Happening::Bytes(id, bytes) => {
                if let Some(line) = self.lines.get_mut(id) {
                    line.buffer.extend_from_slice(bytes);
                    while let Ok(Some(frame)) = take_frame(&mut line.buffer) {
                        self.inputs.push(Input::Frame { connection: line.connection, frame });
                    }
                }
            }
            Happening::Closed(id, why) => {
                if let Some(Line { connection, .. }) = self.lines.remove(id) {
                    self.ids.remove(&connection);
                    let reason = (*why).to_owned();
                    self.inputs.push(Input::Closed { connection, reason, tls: false });
                }
            }
            Happening::Started | Happening::Called(_) | Happening::Timer => {}
        }
    }

    /// Lets the machine do what can be done now.
    pub(crate) fn step(&mut self, host: &Host) {
        let now = now(host);
        loop {
            let mut actions = Vec::new();
            let inputs = std::mem::take(&mut self.inputs);
            let wake = {
                let mut machine = self.machine();
                for input in inputs {
                    machine.input(input, now);
                }
                machine.advance(now);
                while let Some(action) = machine.action() {
                    actions.push(action);
                }
                machine.take_wake()
            };
            if let Some(wake) = wake {
                wake.wake();
            }
            for action in actions {
                self.act(action, host);
            }
            if self.inputs.is_empty() {
                return;
            }
        }
    }

    /// When the next step is due.
    pub(crate) fn deadline(&self, host: &Host) -> Option<Duration> {
        let now = now(host);
        let deadline = self.machine().next_deadline(now)?;
        // A machine that asks for the present again and again must not stop the world.
        Some(deadline.max(now.mono + Duration::from_micros(1)))
    }

    /// Hangs up everywhere.
    pub(crate) fn close(&mut self, host: &Host) {
        self.ids.clear();
        for id in std::mem::take(&mut self.lines).into_keys() {
            host.close(id);
        }
    }
}
