//! The thread: one step of the machine after the other, sockets in between.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use millstream_types::Clock;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

use super::names::{Names, Resolved};
use super::now;
use super::stream::Stream;
use crate::base::Machine;
use crate::network::{Action, ConnectionId, Input};
use crate::settings::ConnectionSettings;
use crate::wire::frame_length;

const WAKE: Token = Token(0);
/// Bytes that one read asks for at most, so that a stated length costs no memory before as much
/// has arrived.
const READ_MAX: usize = 1 << 20;
/// What is read of one connection before the others have their turn.
const TURN_MAX: usize = 8 << 20;
/// Longest wait for one of several addresses before the next one is tried.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);

/// Reaches the thread from others.
pub(crate) struct Control {
    waker: Waker,
    stopped: AtomicBool,
    /// Whether a wake-up is on its way that the thread has not seen: many produced records need
    /// one system call, not one each.
    woken: AtomicBool,
}

impl Control {
    pub(super) fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            // It fails only if the thread's poll is gone, and then nobody needs waking.
            let _ = self.waker.wake();
        }
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }
}

/// Starts the thread.
pub(super) fn spawn<M: Machine + 'static>(
    machine: Arc<Mutex<M>>,
    clock: Arc<dyn Clock>,
    settings: &ConnectionSettings,
    name: &str,
) -> io::Result<(Arc<Control>, JoinHandle<()>)> {
    let poll = Poll::new()?;
    let control = Arc::new(Control {
        waker: Waker::new(poll.registry(), WAKE)?,
        stopped: AtomicBool::new(false),
        woken: AtomicBool::new(false),
    });
    let mut sockets = Sockets {
        poll,
        names: Names::new(settings.address_family, control.clone()),
        connections: HashMap::new(),
        by_id: HashMap::new(),
        next_token: 1,
        receive_max: settings.receive_max,
        no_delay: settings.no_delay,
        keep_alive: settings.keep_alive,
        inputs: Vec::new(),
    };
    let shared = control.clone();
    let run = move || sockets.run(&machine, &*clock, &shared);
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
    Ok((control, thread))
}

/// A connection and what is under way on it.
struct Connection {
    id: ConnectionId,
    stream: Stream,
    connecting: bool,
    /// Addresses that were not tried yet, and until when this one may take.
    addresses: VecDeque<SocketAddr>,
    give_up_at: Duration,
    host: Arc<str>,
    out: VecDeque<Bytes>,
    /// Bytes of the front of `out` that are written.
    written: usize,
    prefix: [u8; 4],
    prefix_len: usize,
    /// The frame that is arriving, and how long it will be.
    frame: Vec<u8>,
    expected: usize,
    readable: bool,
    writable: bool,
}

struct Sockets {
    poll: Poll,
    names: Names,
    connections: HashMap<Token, Connection>,
    by_id: HashMap<ConnectionId, Token>,
    next_token: usize,
    receive_max: usize,
    no_delay: bool,
    keep_alive: bool,
    inputs: Vec<Input>,
}

impl Sockets {
    fn run<M: Machine>(&mut self, machine: &Mutex<M>, clock: &dyn Clock, control: &Control) {
        let mut events = Events::with_capacity(64);
        let mut actions = Vec::new();
        loop {
            // Before the machine is looked at: a change that comes later brings another wake-up.
            control.woken.store(false, Ordering::Release);
            let deadline = {
                let mut machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
                let now = now(clock);
                for input in self.inputs.drain(..) {
                    machine.input(input, now);
                }
                machine.advance(now);
                while let Some(action) = machine.action() {
                    actions.push(action);
                }
                machine.next_deadline(now)
            };
            for action in actions.drain(..) {
                self.act(action, clock.monotonic());
            }
            if control.stopped.load(Ordering::Acquire) {
                return;
            }
            let now = clock.monotonic();
            self.try_next_addresses(now);
            let busy = self.pump();
            let own =
                self.connections.values().filter(|c| c.connecting).map(|c| c.give_up_at).min();
            let wait = match crate::time::earlier(deadline, own) {
                _ if busy || !self.inputs.is_empty() => Some(Duration::ZERO),
                // Rounded up, or the last fraction of a millisecond would be spent turning.
                Some(at) => Some(at.saturating_sub(now) + Duration::from_micros(999)),
                None => None,
            };
            if let Err(error) = self.poll.poll(&mut events, wait)
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(target: "millstream::kafka", %error, "waiting on sockets failed");
                return;
            }
            for event in &events {
                if let Some(connection) = self.connections.get_mut(&event.token()) {
                    connection.readable |=
                        event.is_readable() || event.is_read_closed() || event.is_error();
                    connection.writable |= event.is_writable() || event.is_error();
                }
            }
            while let Some(resolved) = self.names.done() {
                self.resolved(resolved, clock.monotonic());
            }
            self.pump();
        }
    }

    fn act(&mut self, action: Action, now: Duration) {
        match action {
            Action::Connect { connection, host, port } => {
                if let Some(resolved) = self.names.begin(connection, &host, port) {
                    self.resolved(resolved, now);
                }
            }
            Action::Send { connection, bytes } => {
                if let Some(connection) = self.of(connection) {
                    connection.out.push_back(bytes);
                }
            }
            Action::Close { connection } => {
                self.remove(connection);
            }
        }
    }

    fn of(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(self.by_id.get(&id)?)
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let token = self.by_id.remove(&id)?;
        let mut connection = self.connections.remove(&token)?;
        // The descriptor is closed with the stream, which deregisters it as well.
        let _ = self.poll.registry().deregister(connection.stream.socket());
        Some(connection)
    }

    fn fail(&mut self, id: ConnectionId, reason: String) {
        self.remove(id);
        self.inputs.push(Input::Closed { connection: id, reason, tls: false });
    }

    fn resolved(&mut self, resolved: Resolved, now: Duration) {
        let Resolved { connection, host, port, addresses } = resolved;
        match addresses {
            Ok(addresses) => self.try_address(connection, host, addresses.into(), now),
            Err(reason) => {
                self.inputs.push(Input::Closed {
                    connection,
                    reason: format!("{host}:{port}: {reason}"),
                    tls: false,
                });
            }
        }
    }

    /// Connects to the first of `addresses`.
    fn try_address(
        &mut self,
        id: ConnectionId,
        host: Arc<str>,
        mut addresses: VecDeque<SocketAddr>,
        now: Duration,
    ) {
        let mut last = String::from("no address");
        while let Some(address) = addresses.pop_front() {
            match self.open(address) {
                Ok((token, stream)) => {
                    self.by_id.insert(id, token);
                    self.connections.insert(
                        token,
                        Connection {
                            id,
                            stream,
                            connecting: true,
                            addresses,
                            give_up_at: now + ADDRESS_TIMEOUT,
                            host,
                            out: VecDeque::new(),
                            written: 0,
                            prefix: [0; 4],
                            prefix_len: 0,
                            frame: Vec::new(),
                            expected: 0,
                            readable: false,
                            writable: false,
                        },
                    );
                    return;
                }
                Err(error) => last = format!("cannot connect to {address}: {error}"),
            }
        }
        self.inputs.push(Input::Closed { connection: id, reason: last, tls: false });
    }

    fn open(&mut self, address: SocketAddr) -> io::Result<(Token, Stream)> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(self.no_delay)?;
        rustix::net::sockopt::set_socket_keepalive(&socket, self.keep_alive)?;
        let token = Token(self.next_token);
        self.next_token += 1;
        self.poll.registry().register(
            &mut socket,
            token,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        Ok((token, Stream::Plain(socket)))
    }

    /// Goes on to the next address where one takes too long and there is another.
    fn try_next_addresses(&mut self, now: Duration) {
        let late: Vec<ConnectionId> = self
            .connections
            .values()
            .filter(|c| c.connecting && c.give_up_at <= now)
            .map(|c| c.id)
            .collect();
        for id in late {
            match self.of(id) {
                // The machine has a time limit of its own for the last one.
                Some(connection) if connection.addresses.is_empty() => {
                    connection.give_up_at = Duration::MAX;
                }
                _ => self.next_address(id, String::from("no answer"), now),
            }
        }
    }

    fn next_address(&mut self, id: ConnectionId, why: String, now: Duration) {
        let Some(connection) = self.remove(id) else { return };
        if connection.addresses.is_empty() {
            self.inputs.push(Input::Closed { connection: id, reason: why, tls: false });
        } else {
            self.try_address(id, connection.host, connection.addresses, now);
        }
    }

    /// Reads and writes what can be. Returns whether something is left that needs no waiting.
    fn pump(&mut self) -> bool {
        let tokens: Vec<Token> = self
            .connections
            .iter()
            .filter(|(_, c)| c.readable || (c.writable && (c.connecting || !c.out.is_empty())))
            .map(|(token, _)| *token)
            .collect();
        let mut busy = false;
        for token in tokens {
            let Some(connection) = self.connections.get_mut(&token) else { continue };
            let id = connection.id;
            if connection.connecting {
                match connection.finish_connecting() {
                    Ok(true) => self.inputs.push(Input::Connected { connection: id }),
                    Ok(false) => {}
                    Err(reason) => {
                        let reason = format!("{}: {reason}", connection.host);
                        // Time is not asked for here: the limit of the next address may start
                        // as late as the turn before.
                        let now = connection.give_up_at.saturating_sub(ADDRESS_TIMEOUT);
                        self.next_address(id, reason, now);
                    }
                }
                continue;
            }
            let done = connection
                .write()
                .and_then(|()| connection.read(self.receive_max, &mut self.inputs));
            match done {
                Ok(more) => busy |= more,
                Err(reason) => self.fail(id, reason),
            }
        }
        busy
    }
}

impl Connection {
    /// Whether the connection stands now.
    fn finish_connecting(&mut self) -> Result<bool, String> {
        let socket = self.stream.socket();
        if let Ok(Some(error)) | Err(error) = socket.take_error() {
            return Err(format!("cannot connect: {error}"));
        }
        match socket.peer_addr() {
            Ok(_) => {
                self.connecting = false;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                self.writable = false;
                self.readable = false;
                Ok(false)
            }
            Err(error) => Err(format!("cannot connect: {error}")),
        }
    }

    fn write(&mut self) -> Result<(), String> {
        while self.writable
            && let Some(front) = self.out.front()
        {
            match self.stream.write(&front[self.written..]) {
                Ok(written) => {
                    self.written += written;
                    if self.written == front.len() {
                        self.written = 0;
                        self.out.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("{}: cannot write: {error}", self.host)),
            }
        }
        Ok(())
    }

    /// Reads whole frames into `inputs`. Returns whether there may be more to read at once.
    fn read(&mut self, receive_max: usize, inputs: &mut Vec<Input>) -> Result<bool, String> {
        let mut turn = 0;
        while self.readable && turn < TURN_MAX {
            let done = if self.prefix_len < 4 {
                self.stream.read(&mut self.prefix[self.prefix_len..]).map(|read| {
                    self.prefix_len += read;
                    read
                })
            } else {
                let missing = self.expected - self.frame.len();
                self.stream.read_into(&mut self.frame, missing.min(READ_MAX))
            };
            match done {
                Ok(0) => {
                    return Err(format!("{}: the broker has closed the connection", self.host));
                }
                Ok(read) => turn += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("{}: cannot read: {error}", self.host)),
            }
            if self.prefix_len == 4 && self.expected == 0 {
                self.expected = frame_length(self.prefix, receive_max)
                    .map_err(|error| format!("{}: {error}", self.host))?;
                // No more than this before it has arrived, whatever the length says.
                self.frame.reserve(self.expected.min(READ_MAX));
                if self.expected == 0 {
                    return Err(format!("{}: an empty response", self.host));
                }
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
}
