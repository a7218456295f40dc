//! The thread: one step of the machine after the other, sockets in between.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use millstream_types::Clock;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

use super::connection::{Connection, Progress};
use super::names::{Names, Resolved};
use super::stream::Stream;
use super::tls::{self, TlsConfig, TlsStream};
use super::tokens::Tokens;
use super::{now, tls::refusal};
use crate::base::Machine;
use crate::network::{Action, ConnectionId, Input};
use crate::settings::ConnectionSettings;

const WAKE: Token = Token(0);
/// Longest wait for one of several addresses before the next one is tried.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait without a look at the machine; keeps far deadlines within what the system's call
/// can express.
const WAIT_MAX: Duration = Duration::from_secs(3600);

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
    // Wrong files are found here, not at the first connection.
    let tls = match settings.protocol.has_tls() {
        true => Some(tls::config(&settings.tls).map_err(io::Error::other)?),
        false => None,
    };
    let tokens = Tokens::new(settings, clock.clone(), control.clone()).map_err(io::Error::other)?;
    let mut sockets = Sockets::new(poll, tls, tokens, settings, control.clone());
    let shared = control.clone();
    let run = move || sockets.run(&machine, &*clock, &shared);
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
    Ok((control, thread))
}

struct Sockets {
    poll: Poll,
    tls: Option<TlsConfig>,
    names: Names,
    tokens: Option<Tokens>,
    /// Look-ups whose result is still wanted.
    resolving: HashSet<ConnectionId>,
    connections: HashMap<Token, Connection>,
    by_id: HashMap<ConnectionId, Token>,
    next_token: usize,
    receive_max: usize,
    no_delay: bool,
    keep_alive: bool,
    send_buffer: Option<usize>,
    receive_buffer: Option<usize>,
    inputs: Vec<Input>,
}

impl Sockets {
    fn new(
        poll: Poll,
        tls: Option<TlsConfig>,
        tokens: Option<Tokens>,
        settings: &ConnectionSettings,
        control: Arc<Control>,
    ) -> Self {
        Self {
            poll,
            tls,
            names: Names::new(settings.address_family, control),
            tokens,
            resolving: HashSet::new(),
            connections: HashMap::new(),
            by_id: HashMap::new(),
            next_token: 1,
            receive_max: settings.receive_max,
            no_delay: settings.no_delay,
            keep_alive: settings.keep_alive,
            send_buffer: settings.send_buffer,
            receive_buffer: settings.receive_buffer,
            inputs: Vec::new(),
        }
    }

    fn run<M: Machine>(&mut self, machine: &Mutex<M>, clock: &dyn Clock, control: &Control) {
        let mut events = Events::with_capacity(64);
        let mut actions = Vec::new();
        loop {
            // Before anything is looked at: what comes later brings another wake-up. A swap, so that
            // what was written before the wake-up that it takes back is seen here.
            control.woken.swap(false, Ordering::AcqRel);
            while let Some(resolved) = self.names.done() {
                self.resolved(resolved, clock.monotonic());
            }
            while let Some(token) = self.tokens.as_ref().and_then(Tokens::done) {
                self.inputs.push(Input::Token(token));
            }
            // Also before: what was asked for until then is still carried out.
            let stopped = control.stopped.load(Ordering::Acquire);
            let (deadline, wake) = {
                let mut machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
                let now = now(clock);
                for input in self.inputs.drain(..) {
                    machine.input(input, now);
                }
                machine.advance(now);
                while let Some(action) = machine.action() {
                    actions.push(action);
                }
                (machine.next_deadline(now), machine.take_wake())
            };
            if let Some(wake) = wake {
                wake.wake();
            }
            for action in actions.drain(..) {
                self.act(action, clock.monotonic());
            }
            if stopped {
                self.close_all();
                return;
            }
            let now = clock.monotonic();
            self.try_next_addresses(now);
            let busy = self.pump(now);
            let own = self.connections.values().filter_map(|c| c.give_up_at).min();
            let wait = match crate::time::earlier(deadline, own) {
                _ if busy || !self.inputs.is_empty() => Some(Duration::ZERO),
                // Rounded up, or the last fraction of a millisecond would be spent turning.
                Some(at) => Some(at.saturating_sub(now).min(WAIT_MAX) + Duration::from_micros(999)),
                None => None,
            };
            if let Err(error) = self.poll.poll(&mut events, wait)
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(target: "millstream::kafka", %error, "waiting on sockets failed");
                return;
            }
            self.mark(&events);
            self.pump(clock.monotonic());
        }
    }

    /// Remembers which sockets have become readable or writable.
    fn mark(&mut self, events: &Events) {
        for event in events {
            if let Some(connection) = self.connections.get_mut(&event.token()) {
                connection.readable |=
                    event.is_readable() || event.is_read_closed() || event.is_error();
                connection.writable |=
                    event.is_writable() || event.is_write_closed() || event.is_error();
            }
        }
    }

    fn act(&mut self, action: Action, now: Duration) {
        match action {
            Action::Connect { connection, host, port } => {
                self.resolving.insert(connection);
                if let Some(resolved) = self.names.begin(connection, &host, port) {
                    self.resolved(resolved, now);
                }
            }
            Action::Send { connection, bytes } => {
                if let Some(connection) = self.of(connection) {
                    connection.send(bytes);
                }
            }
            Action::Close { connection } => {
                self.resolving.remove(&connection);
                if let Some(connection) = self.of(connection) {
                    connection.close();
                }
                self.remove(connection);
            }
            // The machine and this thread have the same settings.
            Action::FetchToken => self.tokens.iter().for_each(Tokens::begin),
        }
    }

    fn of(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(self.by_id.get(&id)?)
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let token = self.by_id.remove(&id)?;
        let mut connection = self.connections.remove(&token)?;
        // The descriptor is closed with the stream, which deregisters it as well.
        let _ = self.poll.registry().deregister(connection.socket());
        Some(connection)
    }

    /// Sends what can be sent without waiting, such as that a consumer leaves its group, and
    /// closes.
    fn close_all(&mut self) {
        for connection in self.connections.values_mut() {
            connection.close();
        }
        self.connections.clear();
    }

    fn fail(&mut self, id: ConnectionId, reason: String, tls: bool) {
        self.remove(id);
        self.inputs.push(Input::Closed { connection: id, reason, tls });
    }

    fn resolved(&mut self, resolved: Resolved, now: Duration) {
        let Resolved { connection, host, port, addresses } = resolved;
        if !self.resolving.remove(&connection) {
            // The machine has given it up; a connection would be one that nobody closes.
            return;
        }
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
            match self.open(address, &host) {
                Ok((token, stream)) => {
                    self.by_id.insert(id, token);
                    let give_up_at = now.saturating_add(ADDRESS_TIMEOUT);
                    let connection =
                        Connection::new(id, stream, host, address, addresses, give_up_at);
                    self.connections.insert(token, connection);
                    return;
                }
                Err(error) => last = format!("{host}: cannot connect to {address}: {error}"),
            }
        }
        self.inputs.push(Input::Closed { connection: id, reason: last, tls: false });
    }

    fn open(&mut self, address: SocketAddr, host: &str) -> io::Result<(Token, Stream)> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(self.no_delay)?;
        rustix::net::sockopt::set_socket_keepalive(&socket, self.keep_alive)?;
        if let Some(size) = self.send_buffer {
            rustix::net::sockopt::set_socket_send_buffer_size(&socket, size)?;
        }
        if let Some(size) = self.receive_buffer {
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, size)?;
        }
        let mut stream = match &self.tls {
            None => Stream::Plain(socket),
            Some(config) => Stream::Tls(TlsStream::new(socket, config, host, address.ip())?),
        };
        let token = Token(self.next_token);
        self.next_token += 1;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(stream.socket(), token, interest)?;
        Ok((token, stream))
    }

    /// Goes on to the next address where one takes too long and there is another.
    fn try_next_addresses(&mut self, now: Duration) {
        let late: Vec<ConnectionId> = self
            .connections
            .values_mut()
            .filter(|c| c.give_up_at.is_some_and(|at| at <= now))
            .filter_map(|c| {
                // The machine has a time limit of its own for the last one.
                c.give_up_at = None;
                (!c.addresses.is_empty()).then_some(c.id)
            })
            .collect();
        for id in late {
            self.next_address(id, String::from("no answer"), now);
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
    fn pump(&mut self, now: Duration) -> bool {
        let tokens: Vec<Token> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.is_due())
            .map(|(token, _)| *token)
            .collect();
        let mut busy = false;
        for token in tokens {
            let Some(connection) = self.connections.get_mut(&token) else { continue };
            let id = connection.id;
            match connection.go_on(self.receive_max, &mut self.inputs) {
                Ok(Progress::Waits) => {}
                Ok(Progress::More) => busy = true,
                Err(error) => {
                    let reason = format!("{}: {error}", connection.host);
                    match connection.is_connecting() {
                        true => self.next_address(id, reason, now),
                        false => self.fail(id, reason, refusal(&error)),
                    }
                }
            }
        }
        busy
    }
}

#[cfg(test)]
mod tests;
