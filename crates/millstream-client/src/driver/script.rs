//! For tests of the thread and its sockets: a machine that does what it is told and notes what
//! happens, and frames.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Driven, Signal, Wake};
use crate::base::Machine;
use crate::network::{Action, ConnectionId, Input};
use crate::settings::ConnectionSettings;
use crate::time::Now;

/// How long a test waits for what must come. Nothing passes because of it.
const LONG: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Script {
    inputs: Vec<Input>,
    actions: VecDeque<Action>,
    arrived: Arc<Signal>,
}

impl Machine for Script {
    fn input(&mut self, input: Input, _now: Now) {
        self.inputs.push(input);
        self.arrived.wake();
    }

    fn advance(&mut self, _now: Now) {}

    fn take_wake(&mut self) -> Option<Arc<dyn Wake>> {
        None
    }

    fn action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn next_deadline(&self, _now: Now) -> Option<Duration> {
        None
    }
}

/// A thread with sockets that does what the test says.
pub(super) struct Scripted {
    driven: Driven<Script>,
    arrived: Arc<Signal>,
}

impl Scripted {
    pub(super) fn start(settings: &ConnectionSettings) -> Self {
        let script = Script::default();
        let arrived = script.arrived.clone();
        let driven = Driven::start(script, settings, "scripted").unwrap();
        Self { driven, arrived }
    }

    pub(super) fn act(&self, actions: impl IntoIterator<Item = Action>) {
        self.driven.lock().actions.extend(actions);
        self.driven.wake();
    }

    pub(super) fn connect(&self, id: u64, host: &str, port: u16) {
        self.act([Action::Connect { connection: ConnectionId(id), host: host.into(), port }]);
    }

    pub(super) fn send(&self, id: u64, bytes: impl Into<Bytes>) {
        self.act([Action::Send { connection: ConnectionId(id), bytes: bytes.into() }]);
    }

    /// Waits for that many inputs and takes them.
    pub(super) fn inputs(&self, count: usize) -> Vec<Input> {
        loop {
            {
                let inputs = &mut self.driven.lock().inputs;
                if inputs.len() >= count {
                    return inputs.drain(..count).collect();
                }
            }
            assert!(self.arrived.wait(LONG), "{count} inputs did not come");
        }
    }

    pub(super) fn input(&self) -> Input {
        self.inputs(1).remove(0)
    }

    /// Waits for a connection.
    pub(super) fn connected(&self) {
        let input = self.input();
        assert!(matches!(input, Input::Connected { .. }), "{input:?}");
    }

    /// Waits for the end of a connection: why, and whether TLS was refused.
    pub(super) fn closed(&self) -> (String, bool) {
        match self.input() {
            Input::Closed { reason, tls, .. } => (reason, tls),
            input => panic!("{input:?}"),
        }
    }

    pub(super) fn frame(&self) -> Bytes {
        match self.input() {
            Input::Frame { frame, .. } => frame,
            input => panic!("{input:?}"),
        }
    }
}

/// `body` with its length before it.
pub(super) fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    [&length.to_be_bytes(), body].concat()
}

/// Sends every frame back until the stream ends.
pub(super) fn echo(stream: &mut (impl Read + Write)) {
    let mut length = [0; 4];
    while stream.read_exact(&mut length).is_ok() {
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        if stream.write_all(&framed(&body)).and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}

/// Runs a server on a thread of its own.
pub(super) fn serve(work: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::Builder::new().name("server".into()).spawn(work).unwrap()
}
