//! Processes written as straight code: an `async` function that is polled after each happening on
//! its host. There is no executor to speak of: whatever happens, the one future is polled, and it
//! looks whether what it waits for is there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millstream_client::Machine;
use millstream_types::Timestamp;

use crate::kernel::{Fate, Happening, Process};
use crate::machine::{Bell, Driver};
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
    /// The client's machines that it uses.
    drivers: BTreeMap<u64, Driver>,
    next_driver: u64,
}

/// An actor's view of the world, from inside of its code.
#[derive(Clone)]
pub struct Me {
    host: Host,
    mail: Rc<RefCell<Mail>>,
    random: Rc<RefCell<SplitMix64>>,
    bell: Arc<Bell>,
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

    /// Random numbers for somebody else: this actor goes on with others.
    pub(crate) fn fork(&self) -> SplitMix64 {
        let mut random = self.random.borrow_mut();
        let mut mine = random.clone();
        mine = SplitMix64::stream(mine.draw(), "after a fork");
        std::mem::replace(&mut *random, mine)
    }

    /// The bell that this actor answers.
    pub(crate) fn bell(&self) -> Arc<Bell> {
        self.bell.clone()
    }

    /// Drives a machine of the client until the answer is dropped.
    pub(crate) fn drive(&self, machine: Arc<Mutex<dyn Machine>>) -> Driven {
        let mut mail = self.mail.borrow_mut();
        let id = mail.next_driver;
        mail.next_driver += 1;
        mail.drivers.insert(id, Driver::new(machine));
        Driven { me: self.clone(), id }
    }

    /// Waits until `look` finds something, or until the deadline.
    pub(crate) async fn look<T>(
        &self,
        until: Option<Duration>,
        mut look: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        std::future::poll_fn(|_| {
            if let Some(found) = look() {
                return Poll::Ready(Some(found));
            }
            if until.is_some_and(|until| self.now() >= until) {
                return Poll::Ready(None);
            }
            let mut mail = self.mail.borrow_mut();
            mail.wake_at = [mail.wake_at, until].into_iter().flatten().min();
            Poll::Pending
        })
        .await
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

/// A machine that an actor uses; it is let go with this.
pub(crate) struct Driven {
    me: Me,
    id: u64,
}

impl Driven {
    /// The earliest era of its connections.
    pub(crate) fn oldest_era(&self) -> Option<u32> {
        self.me.mail.borrow().drivers.get(&self.id).and_then(Driver::oldest_era)
    }

    /// How many connections its machine has closed so far.
    pub(crate) fn hung_up(&self) -> u64 {
        self.me.mail.borrow().drivers.get(&self.id).map_or(0, Driver::hung_up)
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        let driver = self.me.mail.borrow_mut().drivers.remove(&self.id);
        if let Some(mut driver) = driver {
            driver.close(&self.me.host);
        }
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
        let (host, random) = (host.clone(), Rc::new(RefCell::new(random)));
        let me = Me { host, mail: Rc::default(), random, bell: Arc::default() };
        Self { future: Box::pin(body(me.clone())), me }
    }
}

impl Actor {
    /// Lets the machines take a step.
    fn step_machines(&self, host: &Host) {
        let mut mail = self.me.mail.borrow_mut();
        for driver in mail.drivers.values_mut() {
            driver.step(host);
        }
    }

    /// Hands on what has happened.
    fn take(&self, what: Happening) {
        let mut mail = self.me.mail.borrow_mut();
        for driver in mail.drivers.values_mut() {
            driver.take(&what);
        }
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
    }
}

impl Process for Actor {
    fn step(&mut self, what: Happening, host: &Host) -> Fate {
        self.take(what);
        self.step_machines(host);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            self.me.bell.take();
            self.me.mail.borrow_mut().wake_at = None;
            if self.future.as_mut().poll(&mut context).is_ready() {
                return Fate::Ended;
            }
            // What it asked of a machine is done at once, as a driver that is woken does it.
            self.step_machines(host);
            if !self.me.bell.take() {
                break;
            }
        }
        let mail = self.me.mail.borrow();
        let machines = mail.drivers.values().filter_map(|driver| driver.deadline(host));
        if let Some(at) = machines.chain(mail.wake_at).min() {
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
