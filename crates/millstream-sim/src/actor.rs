//! Processes written as straight code: an `async` function that is polled after each happening on
//! its host. There is no executor to speak of: whatever happens, the one future is polled, and it
//! looks whether what it waits for is there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millstream_types::Timestamp;

use crate::kernel::{Fate, Happening, Process};
use crate::network::ConnId;
use crate::random::SplitMix64;
use crate::server::take_frame;
use crate::world::{Host, HostId};

/// What an actor has of one connection.
#[derive(Default)]
pub(crate) struct Line {
    pub(crate) open: bool,
    pub(crate) closed: Option<&'static str>,
    buffer: BytesMut,
    /// Answers that nobody has taken yet, by correlation id.
    pub(crate) answers: BTreeMap<i32, Bytes>,
}

#[derive(Default)]
struct Mail {
    lines: BTreeMap<ConnId, Line>,
    /// The earliest time that the future waits for.
    wake_at: Option<Duration>,
}

/// An actor's view of the world, from inside of its code.
#[derive(Clone)]
pub struct Me {
    host: Host,
    mail: Rc<RefCell<Mail>>,
    random: Rc<RefCell<SplitMix64>>,
}

impl Me {
    /// Its host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Time since its machine's boot.
    pub fn now(&self) -> Duration {
        self.host.monotonic()
    }

    /// What its wall clock shows.
    pub fn wall(&self) -> Timestamp {
        self.host.wall()
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        self.random.borrow_mut().between(low, high)
    }

    /// True in `per_million` of a million cases.
    pub fn chance(&self, per_million: u32) -> bool {
        self.random.borrow_mut().chance(per_million)
    }

    /// Lets time pass.
    pub async fn sleep(&self, time: Duration) {
        let until = self.now() + time;
        self.wait(until, |_| None::<()>).await;
    }

    /// Lets some time pass, between `low` and `high` milliseconds.
    pub async fn sleep_ms(&self, low: u64, high: u64) {
        let time = Duration::from_millis(self.between(low, high));
        self.sleep(time).await;
    }

    /// Calls a host.
    pub(crate) fn call(&self, to: HostId) -> ConnId {
        let id = self.host.connect(to);
        self.mail.borrow_mut().lines.insert(id, Line::default());
        id
    }

    /// Hangs up.
    pub(crate) fn hang_up(&self, id: ConnId) {
        self.host.close(id);
        self.mail.borrow_mut().lines.remove(&id);
    }

    /// Waits until `look` finds something on a line, or until the deadline.
    pub(crate) async fn wait_on<T>(
        &self,
        id: ConnId,
        until: Duration,
        look: impl Fn(&mut Line) -> Option<T>,
    ) -> Option<T> {
        self.wait(until, |mail| mail.lines.get_mut(&id).and_then(&look)).await
    }

    async fn wait<T>(&self, until: Duration, look: impl Fn(&mut Mail) -> Option<T>) -> Option<T> {
        std::future::poll_fn(|_| {
            let mut mail = self.mail.borrow_mut();
            if let Some(found) = look(&mut mail) {
                return Poll::Ready(Some(found));
            }
            if self.now() >= until {
                return Poll::Ready(None);
            }
            mail.wake_at = Some(mail.wake_at.map_or(until, |other| other.min(until)));
            Poll::Pending
        })
        .await
    }
}

/// A process that runs an `async` function.
pub struct Actor {
    me: Me,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

impl Actor {
    /// Runs what `body` makes of its view of the world.
    pub fn new<F: Future<Output = ()> + 'static>(
        host: &Host,
        random: SplitMix64,
        body: impl FnOnce(Me) -> F,
    ) -> Self {
        let me =
            Me { host: host.clone(), mail: Rc::default(), random: Rc::new(RefCell::new(random)) };
        Self { future: Box::pin(body(me.clone())), me }
    }
}

impl Process for Actor {
    fn step(&mut self, what: Happening, host: &Host) -> Fate {
        {
            let mut mail = self.me.mail.borrow_mut();
            match what {
                Happening::Connected(id) => {
                    if let Some(line) = mail.lines.get_mut(&id) {
                        line.open = true;
                    }
                }
                Happening::Bytes(id, bytes) => {
                    if let Some(line) = mail.lines.get_mut(&id) {
                        line.take(&bytes);
                    }
                }
                Happening::Closed(id, why) => {
                    if let Some(line) = mail.lines.get_mut(&id) {
                        line.closed = Some(why);
                    }
                }
                Happening::Started | Happening::Called(_) | Happening::Timer => {}
            }
            mail.wake_at = None;
        }
        let mut context = Context::from_waker(Waker::noop());
        if self.future.as_mut().poll(&mut context).is_ready() {
            return Fate::Ended;
        }
        if let Some(at) = self.me.mail.borrow().wake_at {
            host.wake_at(at);
        }
        Fate::Alive
    }
}

impl Line {
    fn take(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        loop {
            match take_frame(&mut self.buffer) {
                Ok(Some(frame)) if frame.len() >= 4 => {
                    let id = i32::from_be_bytes(frame[..4].try_into().expect("four bytes"));
                    self.answers.insert(id, frame);
                }
                Ok(None) => return,
                Ok(Some(_)) | Err(_) => {
                    self.closed = Some("sent what is no answer");
                    return;
                }
            }
        }
    }
}
