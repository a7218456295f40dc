//! The world: time, the queue of what is to come, hosts, and the network between them.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_types::{Clock, Timestamp};

use crate::clock::HostClock;
use crate::nemesis::Fault;
use crate::network::{Arrival, ConnId, Connection, Due, End, Network};
use crate::random::SplitMix64;
use crate::trace::Trace;

/// Names a host: a process with its machine.
pub type HostId = usize;

pub(crate) enum Event {
    Arrive(ConnId, End, Arrival),
    /// The next arrival that was put off.
    GoOn(ConnId, End),
    /// A host's timer, set in that life for that time.
    Timer(HostId, u32, Duration),
    /// A host's process starts.
    Start(HostId),
    Fault(Fault),
}

struct Scheduled {
    at: Duration,
    number: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

pub(crate) struct HostState {
    pub(crate) name: String,
    pub(crate) clock: Arc<HostClock>,
    /// Counts the starts of the process.
    pub(crate) life: u32,
    /// Whether the process runs.
    pub(crate) up: bool,
    /// Whether the machine runs, and so answers for a process that does not.
    pub(crate) powered: bool,
    /// Whether it takes calls.
    pub(crate) listens: bool,
    /// It does nothing before then: paused, or busy with the step before.
    pub(crate) held_until: Duration,
    timer: Option<Duration>,
    /// How often the machine has lost its power.
    pub(crate) power_losses: u32,
    /// How far its wall clock was set forward, all in all.
    pub(crate) set_forward: Duration,
}

impl HostState {
    pub(crate) fn new(name: &str, clock: Arc<HostClock>, listens: bool) -> Self {
        Self {
            name: name.to_owned(),
            clock,
            life: 0,
            up: false,
            powered: true,
            listens,
            held_until: Duration::ZERO,
            timer: None,
            power_losses: 0,
            set_forward: Duration::ZERO,
        }
    }
}

pub(crate) struct World {
    pub(crate) now: Duration,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    pub(crate) hosts: Vec<HostState>,
    pub(crate) network: Network,
    pub(crate) trace: Trace,
    pub(crate) violations: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64, trace: Trace) -> Self {
        Self {
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            scheduled: 0,
            hosts: Vec::new(),
            network: Network::new(SplitMix64::stream(seed, "network")),
            trace,
            violations: Vec::new(),
        }
    }

    pub(crate) fn schedule(&mut self, at: Duration, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled { at, number: self.scheduled, event }));
    }

    /// The next event; time moves there.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let Reverse(next) = self.queue.pop()?;
        self.now = self.now.max(next.at);
        Some(next.event)
    }

    pub(crate) fn schedule_all(&mut self, due: impl IntoIterator<Item = Due>) {
        for (at, id, end, what) in due {
            self.schedule(at, Event::Arrive(id, end, what));
        }
    }

    pub(crate) fn line(&mut self, host: HostId, what: fmt::Arguments<'_>) {
        let host = &self.hosts[host];
        self.trace.line(self.now.max(host.clock.world()), &host.name, what);
    }

    /// Notes that something is as it must never be.
    pub(crate) fn violation(&mut self, what: String) {
        self.trace.line(self.now, "ORACLE", format_args!("{what}"));
        self.violations.push(what);
    }

    pub(crate) fn connection(&self, id: ConnId) -> Option<&Connection> {
        self.network.connections.get(&id)
    }

    /// Whether a timer event is the one that is set.
    pub(crate) fn take_timer(&mut self, host: HostId, life: u32, at: Duration) -> bool {
        let state = &mut self.hosts[host];
        let current = state.life == life && state.up && state.timer == Some(at);
        if current {
            state.timer = None;
        }
        current
    }

    /// Ends a process. The machine closes its connections, unless it has lost its power.
    pub(crate) fn end_process(&mut self, host: HostId, powered: bool) {
        let state = &mut self.hosts[host];
        state.up = false;
        state.powered = powered;
        state.timer = None;
        state.held_until = Duration::ZERO;
        let now = self.now;
        for (id, end) in self.network.of_host(host) {
            let closed = match powered {
                true => self.network.close(id, end, "reset", now),
                false => {
                    if let Some(connection) = self.network.connections.get_mut(&id) {
                        connection.open[end as usize] = false;
                    }
                    None
                }
            };
            self.schedule_all(closed);
            self.network.sweep(id);
        }
    }
}

/// What a process sees of the world.
#[derive(Clone)]
pub struct Host {
    id: HostId,
    clock: Arc<HostClock>,
    world: Rc<RefCell<World>>,
}

impl Host {
    pub(crate) fn new(world: &Rc<RefCell<World>>, id: HostId) -> Self {
        let clock = world.borrow().hosts[id].clock.clone();
        Self { id, clock, world: world.clone() }
    }

    /// Its number.
    pub fn id(&self) -> HostId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.world.borrow().hosts[self.id].name.clone()
    }

    /// How often its process was started, this time included.
    pub fn life(&self) -> u32 {
        self.world.borrow().hosts[self.id].life
    }

    /// Its clocks, to hand in.
    pub fn clock(&self) -> Arc<HostClock> {
        self.clock.clone()
    }

    /// How far the wall clock of a host was set forward so far, all in all.
    pub fn set_forward(&self, of: HostId) -> Duration {
        self.world.borrow().hosts[of].set_forward
    }

    /// How often a host's machine has lost its power so far.
    pub fn power_losses(&self, of: HostId) -> u32 {
        self.world.borrow().hosts[of].power_losses
    }

    /// Time since its boot.
    pub fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// What its wall clock shows.
    pub fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// The host of that name.
    pub fn find(&self, name: &str) -> Option<HostId> {
        self.world.borrow().hosts.iter().position(|host| host.name == name)
    }

    /// Wakes the process at that time of its monotonic clock; replaces what was set before.
    pub fn wake_at(&self, monotonic: Duration) {
        let mut world = self.world.borrow_mut();
        let at = self.clock.to_world(monotonic).max(self.clock.world());
        let state = &mut world.hosts[self.id];
        if state.timer == Some(at) {
            return;
        }
        state.timer = Some(at);
        let life = state.life;
        world.schedule(at, Event::Timer(self.id, life, at));
    }

    /// Calls a host; what comes of it is reported.
    pub fn connect(&self, to: HostId) -> ConnId {
        let mut world = self.world.borrow_mut();
        let lives = [world.hosts[self.id].life, world.hosts[to].life];
        let (id, due) = world.network.connect([self.id, to], lives, self.clock.world());
        world.schedule_all([due]);
        world.line(self.id, format_args!("c{id} calls host {to}"));
        id
    }

    /// Sends bytes.
    pub fn send(&self, id: ConnId, bytes: Bytes) {
        let mut world = self.world.borrow_mut();
        let Some(end) = self.end_of(&world, id) else { return };
        let was_cut = world.connection(id).is_some_and(|connection| connection.cut);
        let due = world.network.send(id, end, bytes, self.clock.world());
        let cut = world.connection(id).is_some_and(|connection| connection.cut);
        if cut && !was_cut {
            world.line(self.id, format_args!("c{id} is cut while sending"));
        }
        world.schedule_all(due);
    }

    /// Closes a connection, without a report.
    pub fn close(&self, id: ConnId) {
        let mut world = self.world.borrow_mut();
        let Some(end) = self.end_of(&world, id) else { return };
        let closed = world.network.close(id, end, "closed", self.clock.world());
        world.schedule_all(closed);
        world.network.sweep(id);
    }

    /// Notes a line in the trace.
    pub fn trace(&self, what: fmt::Arguments<'_>) {
        self.world.borrow_mut().line(self.id, what);
    }

    /// Notes that something is as it must never be: the run has failed.
    pub fn violation(&self, what: String) {
        self.world.borrow_mut().violation(what);
    }

    fn end_of(&self, world: &World, id: ConnId) -> Option<End> {
        let connection = world.connection(id)?;
        [End::Caller, End::Called]
            .into_iter()
            .find(|end| connection.hosts[*end as usize] == self.id)
    }
}
