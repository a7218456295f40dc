//! Sockets and timers: reads frames, hands them to the [`Broker`], writes its answers. One
//! thread, so the broker needs no locks; the requests of one connection are answered in order.

mod connection;
mod secured;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use millstream_types::Clock;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;

use crate::broker::{Broker, Peer, Reply};
use crate::group::Ticket;
use crate::security::SecurityProtocol;
use crate::security::tls::Tls;
use crate::wire::{Frame, Malformed};

/// How the outside steers and watches a running server; shared between threads.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// Asks the server to end.
    pub(crate) stop: Notify,
    /// Open connections.
    pub(crate) connections: AtomicUsize,
}

/// What all connections share.
pub(crate) struct Shared {
    broker: RefCell<Broker>,
    clock: Arc<dyn Clock>,
    /// Connections that wait for an answer.
    waiting: RefCell<HashMap<Ticket, oneshot::Sender<Frame>>>,
    /// Wakes the timer when an earlier deadline has come up.
    rearm: Notify,
    armed_for: Cell<Duration>,
    /// Told when a connection opens or closes.
    connections_changed: Notify,
    control: Arc<Control>,
    frame_max: usize,
    /// What a client may send that has not said who it is, in bytes.
    strangers_frame_max: usize,
    idle_max: Option<Duration>,
    /// So long a client that was not believed waits for its answer.
    failure_delay: Duration,
}

impl Shared {
    fn handle(&self, frame: Bytes, peer: &mut Peer) -> Result<Pending, Malformed> {
        let reply = self.broker.borrow_mut().receive(frame, peer)?;
        let pending = match reply {
            Reply::Now(frame) => Pending::Answer(frame),
            Reply::Nothing => Pending::Nothing,
            Reply::Close(reason) => Pending::Close(reason),
            Reply::Unauthenticated { answer, reason } => Pending::Unauthenticated(answer, reason),
            Reply::Later(ticket) => {
                let (sender, receiver) = oneshot::channel();
                self.waiting.borrow_mut().insert(ticket, sender);
                Pending::Wait(ticket, receiver)
            }
        };
        self.deliver();
        Ok(pending)
    }

    /// Hands out answers that have become due and looks at the next deadline.
    fn deliver(&self) {
        let mut broker = self.broker.borrow_mut();
        for (ticket, frame) in broker.take_answers() {
            if let Some(sender) = self.waiting.borrow_mut().remove(&ticket) {
                // A receiver that is gone has closed its connection.
                let _ = sender.send(frame);
            }
        }
        if broker.next_deadline() < self.armed_for.get() {
            self.rearm.notify_one();
        }
    }

    fn cancel(&self, ticket: Ticket) {
        self.waiting.borrow_mut().remove(&ticket);
        self.broker.borrow_mut().cancel(ticket);
    }
}

/// What a connection does next.
enum Pending {
    Answer(Frame),
    Wait(Ticket, oneshot::Receiver<Frame>),
    Nothing,
    Close(String),
    Unauthenticated(Bytes, String),
}

/// Serves until asked to stop, or until nobody has been connected for `idle_exit`.
///
/// # Errors
/// What the disk says when everything is made durable at the end.
pub(crate) fn run(
    broker: Broker,
    listeners: Vec<(SecurityProtocol, std::net::TcpListener)>,
    tls: Option<Tls>,
    control: Arc<Control>,
    idle_exit: Option<Duration>,
) -> io::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let idle = broker.settings.number("connections.max.idle.ms");
    let shared = Rc::new(Shared {
        clock: Arc::clone(&broker.clock),
        frame_max: broker.settings.number("socket.request.max.bytes") as usize,
        strangers_frame_max: broker.settings.number("sasl.server.max.receive.size").max(0) as usize,
        failure_delay: Duration::from_millis(
            broker.settings.number("connection.failed.authentication.delay.ms").max(0) as u64,
        ),
        idle_max: u64::try_from(idle).ok().map(Duration::from_millis),
        broker: RefCell::new(broker),
        waiting: RefCell::default(),
        rearm: Notify::new(),
        armed_for: Cell::new(Duration::MAX),
        connections_changed: Notify::new(),
        control,
    });
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let mut doors = Vec::with_capacity(listeners.len());
        for (number, (protocol, listener)) in listeners.into_iter().enumerate() {
            let listener = TcpListener::from_std(listener)?;
            let tls = tls.as_ref().and_then(|tls| tls.of(protocol)).map(TlsAcceptor::from);
            doors.push(Door { number, protocol, tls, listener });
        }
        for door in doors.drain(1..) {
            let shared = Rc::clone(&shared);
            tokio::task::spawn_local(async move { accept(&shared, door).await });
        }
        let first = doors.pop().expect("there is a listener");
        tokio::select! {
            () = accept(&shared, first) => {}
            () = keep_time(&shared) => {}
            () = shared.control.stop.notified() => {}
            () = nobody_connected(&shared, idle_exit) => {
                tracing::info!("nobody is connected any more: the broker ends");
            }
        }
        io::Result::Ok(())
    })?;
    drop(tasks);
    shared.broker.borrow_mut().close()
}

/// A listener.
struct Door {
    /// Its place among the listeners.
    number: usize,
    protocol: SecurityProtocol,
    /// There if the protocol has TLS.
    tls: Option<TlsAcceptor>,
    listener: TcpListener,
}

async fn accept(shared: &Rc<Shared>, door: Door) {
    let door = Rc::new(door);
    loop {
        match door.listener.accept().await {
            Ok((stream, peer)) => {
                // Looked up each time: it can be changed while the broker runs.
                let connections_max =
                    shared.broker.borrow().settings.number("max.connections") as usize;
                if shared.control.connections.load(Ordering::Relaxed) >= connections_max {
                    tracing::warn!(%peer, "refused a connection: max.connections is reached");
                    continue;
                }
                let guard = Connected::new(shared);
                let (shared, door) = (Rc::clone(shared), Rc::clone(&door));
                tokio::task::spawn_local(async move {
                    match secured::serve(&shared, &door, stream, peer).await {
                        Ok(()) => {}
                        Err(reason) if reason.is_about_security() => {
                            let listener = door.protocol;
                            tracing::warn!(%peer, %listener, %reason, "turned a client away");
                        }
                        Err(reason) if reason.is_about_disk() => {
                            tracing::error!(%peer, %reason, "closed a connection");
                        }
                        Err(reason) => tracing::info!(%peer, %reason, "closed a connection"),
                    }
                    drop(guard);
                });
            }
            Err(error) => {
                // No file handle left, mostly. Others may be closed soon.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Counts a connection for as long as it lives.
struct Connected(Rc<Shared>);

impl Connected {
    fn new(shared: &Rc<Shared>) -> Self {
        shared.control.connections.fetch_add(1, Ordering::Relaxed);
        shared.connections_changed.notify_one();
        Self(Rc::clone(shared))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.control.connections.fetch_sub(1, Ordering::Relaxed);
        self.0.connections_changed.notify_one();
    }
}

/// Calls the broker whenever one of its deadlines has come.
async fn keep_time(shared: &Shared) {
    loop {
        let deadline = shared.broker.borrow().next_deadline();
        shared.armed_for.set(deadline);
        let wait = deadline.saturating_sub(shared.clock.monotonic());
        tokio::select! {
            () = tokio::time::sleep(wait) => {
                shared.broker.borrow_mut().tick();
                shared.deliver();
                // What is due again at once (compaction) lets the connections go first.
                tokio::task::yield_now().await;
            }
            () = shared.rearm.notified() => {}
        }
    }
}

/// Ends when there has been no connection for so long; never without a limit.
async fn nobody_connected(shared: &Shared, limit: Option<Duration>) {
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        let alone = shared.control.connections.load(Ordering::Relaxed) == 0;
        tokio::select! {
            () = tokio::time::sleep(limit), if alone => return,
            () = shared.connections_changed.notified() => {}
        }
    }
}
