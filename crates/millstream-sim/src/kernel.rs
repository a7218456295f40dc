//! Runs processes: one event after the other, each handed to the process it is for.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::HostClock;
use crate::disk::{Latency, Loss, SimDisk};
use crate::nemesis::Fault;
use crate::network::{Arrival, ConnId, End, Weather};
use crate::random::SplitMix64;
use crate::trace::Trace;
use crate::world::{Event, Host, HostId, HostState, World};

/// What a process is told.
#[derive(Clone, Debug)]
pub enum Happening {
    /// It has been started.
    Started,
    /// A call of its own was answered.
    Connected(ConnId),
    /// Somebody has called.
    Called(ConnId),
    /// Bytes have arrived.
    Bytes(ConnId, Bytes),
    /// A call has failed, or a connection has ended.
    Closed(ConnId, &'static str),
    /// The time has come that it asked to be woken at.
    Timer,
}

/// What has become of a process after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Alive,
    /// It died of its disk, as it was to.
    Died,
    /// It has done its work, or was asked to end.
    Ended,
}

/// Something that runs on a host.
pub trait Process {
    /// Takes notice of something. All that the process does, it does in here.
    fn step(&mut self, what: Happening, host: &Host) -> Fate;

    /// Is asked to end well. `false`: it knows no such thing, and is killed.
    fn stop(&mut self, _host: &Host) -> bool {
        false
    }
}

/// Makes a host's process, at its first start and after each death.
pub type Factory = Box<dyn FnMut(&Host) -> Box<dyn Process>>;

struct Slot {
    make: Factory,
    process: Option<Box<dyn Process>>,
    disk: Option<SimDisk>,
    /// It has done its work and is not started again.
    ended: bool,
    /// A death by its disk is one of the machine, and this is how.
    loses_power: Option<Loss>,
}

/// The simulation: a world and the processes in it.
pub struct Kernel {
    world: Rc<RefCell<World>>,
    slots: Vec<Slot>,
    random: SplitMix64,
    /// Told of each power loss.
    on_power_loss: Option<Box<dyn FnMut(HostId)>>,
}

impl Kernel {
    /// An empty world.
    pub fn new(seed: u64, trace: Trace) -> Self {
        Self {
            world: Rc::new(RefCell::new(World::new(seed, trace))),
            slots: Vec::new(),
            random: SplitMix64::stream(seed, "kernel"),
            on_power_loss: None,
        }
    }

    /// Adds a host, whose process starts at `at`. With a disk if `has_disk`.
    pub fn add(
        &mut self,
        seed: u64,
        name: &str,
        at: Duration,
        has_disk: bool,
        listens: bool,
        make: impl FnOnce(Option<SimDisk>) -> Factory,
    ) -> HostId {
        let clock = Arc::new(HostClock::default());
        let random = SplitMix64::stream(seed, &format!("disk of {name}"));
        let disk = has_disk.then(|| SimDisk::new(clock.clone(), random));
        let id = self.slots.len();
        let mut world = self.world.borrow_mut();
        world.hosts.push(HostState::new(name, clock, listens));
        world.schedule(at, Event::Start(id));
        self.slots.push(Slot {
            make: make(disk.clone()),
            process: None,
            disk,
            ended: false,
            loses_power: None,
        });
        id
    }

    /// Calls `told` at each power loss.
    pub fn on_power_loss(&mut self, told: impl FnMut(HostId) + 'static) {
        self.on_power_loss = Some(Box::new(told));
    }

    /// Lets a fault come at that time.
    pub fn schedule_fault(&mut self, at: Duration, fault: Fault) {
        self.world.borrow_mut().schedule(at, Event::Fault(fault));
    }

    /// A host, to look at the world through.
    pub fn host(&self, id: HostId) -> Host {
        Host::new(&self.world, id)
    }

    /// Whether a host's process has done its work.
    pub fn has_ended(&self, id: HostId) -> bool {
        self.slots[id].ended
    }

    /// The world's time.
    pub fn now(&self) -> Duration {
        self.world.borrow().now
    }

    /// What was found to be as it must never be.
    pub fn violations(&self) -> Vec<String> {
        self.world.borrow().violations.clone()
    }

    /// Hash and length of the trace so far.
    pub fn trace(&self) -> (u64, u64) {
        let world = self.world.borrow();
        (world.trace.hash(), world.trace.lines())
    }

    /// Runs until `done`, until something is as it must never be, or until `limit`. `false` if it
    /// came to the limit.
    pub fn run(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        loop {
            if done(self) || !self.world.borrow().violations.is_empty() {
                return true;
            }
            let event = self.world.borrow_mut().next();
            let Some(event) = event else { return false };
            if self.now() > limit {
                return false;
            }
            self.event(event);
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Start(host) => self.start(host),
            Event::Timer(host, life, at) => {
                if self.put_off(host, || Event::Timer(host, life, at)) {
                    return;
                }
                if self.world.borrow_mut().take_timer(host, life, at) {
                    self.step(host, Happening::Timer);
                }
            }
            Event::Arrive(id, end, what) => self.arrive(id, end, Some(what)),
            Event::GoOn(id, end) => self.arrive(id, end, None),
            Event::Fault(fault) => self.fault(fault),
        }
    }

    /// Whether a host is paused or busy; the event comes again when it is not.
    fn put_off(&mut self, host: HostId, event: impl FnOnce() -> Event) -> bool {
        let mut world = self.world.borrow_mut();
        let until = world.hosts[host].held_until;
        let held = until > world.now && world.hosts[host].up;
        if held {
            world.schedule(until, event());
        }
        held
    }

    /// The same for an arrival: what was put off comes before what was sent behind it, whenever the
    /// pauses end. Returns what is to be taken now; `None` for `what` stands for the next that was
    /// put off.
    fn in_turn(
        &mut self,
        host: HostId,
        (id, end): (ConnId, End),
        what: Option<Arrival>,
    ) -> Option<Arrival> {
        let mut world = self.world.borrow_mut();
        let (now, up) = (world.now, world.hosts[host].up);
        let held = if up { world.hosts[host].held_until } else { Duration::ZERO };
        let connection = world.network.connections.get_mut(&id)?;
        let waiting = &mut connection.put_off[end as usize];
        let has_turn = what.is_none() || waiting.is_empty();
        if held <= now && has_turn {
            return what.or_else(|| waiting.pop_front());
        }
        waiting.extend(what);
        world.schedule(held.max(now), Event::GoOn(id, end));
        None
    }

    fn start(&mut self, host: HostId) {
        if self.slots[host].ended || self.slots[host].process.is_some() {
            return;
        }
        {
            let mut world = self.world.borrow_mut();
            let now = world.now;
            let state = &mut world.hosts[host];
            state.clock.set_world(now);
            if !state.powered {
                state.clock.boot(Duration::from_secs(self.random.between(2, 40)));
            }
            state.powered = true;
            state.up = true;
            state.life += 1;
            let life = state.life;
            world.line(host, format_args!("starts (life {life})"));
        }
        let handle = self.host(host);
        let slot = &mut self.slots[host];
        if let Some(disk) = &slot.disk {
            disk.revive();
        }
        slot.process = Some((slot.make)(&handle));
        self.step(host, Happening::Started);
    }

    fn arrive(&mut self, id: ConnId, end: End, what: Option<Arrival>) {
        let (host, alive, open) = {
            let world = self.world.borrow();
            let Some(connection) = world.connection(id) else { return };
            let host = connection.hosts[end as usize];
            let state = &world.hosts[host];
            let same_life = connection.lives[end as usize] == state.life;
            // A call is for whoever is there when it comes.
            let called = matches!(what, Some(Arrival::Call)) || connection.calls(end);
            let alive = state.up && (same_life || called);
            (host, alive, connection.open[end as usize])
        };
        let what = match alive || what.is_none() {
            true => self.in_turn(host, (id, end), what),
            false => what,
        };
        let Some(what) = what else { return };
        let mut world = self.world.borrow_mut();
        let now = world.now;
        let happening = match what {
            Arrival::Call if alive && world.hosts[host].listens => {
                let life = world.hosts[host].life;
                let caller = {
                    let connection = world.network.connections.get_mut(&id).expect("looked at");
                    connection.open[end as usize] = true;
                    connection.lives[end as usize] = life;
                    connection.open[end.other() as usize]
                };
                let answer = world.network.signal(id, end.other(), Arrival::Answer, now);
                world.schedule_all(answer.filter(|_| caller));
                Happening::Called(id)
            }
            Arrival::Answer if alive && open => Happening::Connected(id),
            Arrival::Bytes(bytes) if alive && open => {
                let (length, crc) = (bytes.len(), millstream_protocol::crc32c(&bytes));
                world.line(host, format_args!("c{id} gets {length} bytes {crc:08x}"));
                Happening::Bytes(id, bytes)
            }
            Arrival::Closed(why) if alive && open => {
                world.line(host, format_args!("c{id} {why}"));
                let connection = world.network.connections.get_mut(&id).expect("looked at");
                connection.open[end as usize] = false;
                world.network.sweep(id);
                Happening::Closed(id, why)
            }
            Arrival::Call | Arrival::Answer | Arrival::Bytes(_) => {
                // Nobody is there. A machine that runs says so; one without power does not.
                if world.hosts[host].powered {
                    let gone = Arrival::Closed("reset");
                    let told = world.network.signal(id, end.other(), gone, now);
                    world.schedule_all(told);
                }
                return;
            }
            Arrival::Closed(_) => return,
        };
        drop(world);
        self.step(host, happening);
    }

    fn step(&mut self, host: HostId, what: Happening) {
        let handle = self.host(host);
        let now = self.now();
        handle.clock().set_world(now);
        let Some(process) = &mut self.slots[host].process else { return };
        let fate = process.step(what, &handle);
        {
            let mut world = self.world.borrow_mut();
            let busy_until = handle.clock().world();
            let held = &mut world.hosts[host].held_until;
            *held = (*held).max(busy_until);
        }
        match fate {
            Fate::Alive => {}
            Fate::Ended => {
                self.slots[host].ended = true;
                self.end(host, true, "has done its work");
            }
            Fate::Died => {
                let loss = self.slots[host].loses_power.take();
                self.die(host, loss);
            }
        }
    }

    fn end(&mut self, host: HostId, powered: bool, how: &str) {
        let mut world = self.world.borrow_mut();
        world.line(host, format_args!("{how}"));
        world.end_process(host, powered);
        drop(world);
        self.slots[host].process = None;
    }

    /// Ends a process without warning, and lets it start again later.
    fn die(&mut self, host: HostId, loss: Option<Loss>) {
        self.slots[host].loses_power = None;
        match loss {
            None => self.end(host, true, "dies"),
            Some(loss) => {
                self.end(host, false, "loses its power");
                self.world.borrow_mut().hosts[host].power_losses += 1;
                if let Some(disk) = &self.slots[host].disk {
                    disk.power_loss(loss);
                }
                if let Some(told) = &mut self.on_power_loss {
                    told(host);
                }
            }
        }
        let wait = match loss {
            None => self.random.between(20, 3_000),
            Some(_) => self.random.between(500, 8_000),
        };
        let at = self.now() + Duration::from_millis(wait);
        self.world.borrow_mut().schedule(at, Event::Start(host));
    }

    fn fault(&mut self, fault: Fault) {
        let now = self.now();
        if let Some(host) = fault.host()
            && self.slots[host].process.is_none()
        {
            return;
        }
        self.world.borrow_mut().trace.line(now, "FAULT", format_args!("{fault:?}"));
        match fault {
            Fault::DieAt { host, nth, kept_bytes, loss } => {
                self.slots[host].loses_power = loss;
                if let Some(disk) = &self.slots[host].disk {
                    disk.die_at(nth, kept_bytes);
                }
            }
            Fault::Kill { host, loss } => self.die(host, loss),
            Fault::Stop { host, loss } => self.stop(host, loss),
            Fault::Pause { host, time } => {
                let held = &mut self.world.borrow_mut().hosts[host].held_until;
                *held = (*held).max(now + time);
            }
            Fault::WallClock { host, offset_ms } => {
                let host = &mut self.world.borrow_mut().hosts[host];
                let before = host.clock.set_wall_offset(offset_ms);
                let by = u64::try_from(offset_ms - before).unwrap_or(0);
                host.set_forward += Duration::from_millis(by);
            }
            Fault::Block { from, to, time } => {
                self.world.borrow_mut().network.block(from, to, now + time);
            }
            Fault::Weather(weather) => self.world.borrow_mut().network.weather = weather,
            Fault::Disk { host, latency } => {
                if let Some(disk) = &self.slots[host].disk {
                    disk.set_latency(latency);
                }
            }
            Fault::Heal => self.heal(),
        }
    }

    fn stop(&mut self, host: HostId, loss: Option<Loss>) {
        let handle = self.host(host);
        handle.clock().set_world(self.now());
        let Some(process) = &mut self.slots[host].process else { return };
        if process.stop(&handle) {
            self.world.borrow_mut().line(host, format_args!("was stopped"));
        }
        self.die(host, loss);
    }

    /// Ends all faults but those that have happened.
    fn heal(&mut self) {
        for slot in &mut self.slots {
            slot.loses_power = None;
            if let Some(disk) = &slot.disk {
                disk.spare();
                disk.set_latency(Latency::FAST);
            }
        }
        let mut world = self.world.borrow_mut();
        let now = world.now;
        world.network.weather = Weather::CALM;
        world.network.unblock_all();
        for host in &mut world.hosts {
            host.held_until = host.held_until.min(now);
        }
    }
}
