//! The network: connections with a delay in each direction, which can be cut at any byte, go
//! silent, be refused, or wait for a partition to end.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::random::SplitMix64;
use crate::world::HostId;

/// Names a connection.
pub type ConnId = u64;

/// Which end of a connection: who opened it, or who was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Who opened it.
    Caller = 0,
    /// Who was called.
    Called = 1,
}

impl End {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Caller => Self::Called,
            Self::Called => Self::Caller,
        }
    }
}

/// How bad the network is. Chances are per million.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Least and most delay of one direction.
    pub delay: (Duration, Duration),
    /// That a message takes up to `spike` longer.
    pub spike_chance: u32,
    /// See `spike_chance`.
    pub spike: Duration,
    /// That a connection is cut within a message.
    pub cut_chance: u32,
    /// That a direction of a connection goes silent with a message, and nobody is told.
    pub silence_chance: u32,
    /// That a connection is refused.
    pub refuse_chance: u32,
}

impl Weather {
    /// Nothing goes wrong.
    pub const CALM: Self = Self {
        delay: (Duration::from_micros(50), Duration::from_millis(2)),
        spike_chance: 5_000,
        spike: Duration::from_millis(50),
        cut_chance: 0,
        silence_chance: 0,
        refuse_chance: 0,
    };
    /// Some things go wrong.
    pub const ROUGH: Self = Self {
        delay: (Duration::from_micros(50), Duration::from_millis(20)),
        spike_chance: 30_000,
        spike: Duration::from_millis(800),
        cut_chance: 8_000,
        silence_chance: 2_000,
        refuse_chance: 50_000,
    };
    /// Connections hardly ever last.
    pub const STORM: Self = Self {
        delay: (Duration::from_millis(1), Duration::from_millis(150)),
        spike_chance: 100_000,
        spike: Duration::from_secs(3),
        cut_chance: 80_000,
        silence_chance: 20_000,
        refuse_chance: 300_000,
    };
}

/// What comes to one end of a connection.
#[derive(Clone, Debug)]
pub(crate) enum Arrival {
    /// Somebody calls.
    Call,
    /// The call is answered.
    Answer,
    Bytes(Bytes),
    /// The other end has closed, or the network says that there is none.
    Closed(&'static str),
}

pub(crate) struct Connection {
    pub(crate) hosts: [HostId; 2],
    /// The life of each end's host when the connection was made: a process that is started anew
    /// has none of the old connections.
    pub(crate) lives: [u32; 2],
    /// Whether each end believes that there is a connection.
    pub(crate) open: [bool; 2],
    /// Bytes to this end vanish.
    pub(crate) silent: [bool; 2],
    /// The network has cut it: nothing that is sent from now on arrives.
    pub(crate) cut: bool,
    /// What has arrived at each end and waits until its host has time.
    pub(crate) put_off: [VecDeque<Arrival>; 2],
    /// What comes later must not arrive before this, at each end.
    last_arrival: [Duration; 2],
}

impl Connection {
    /// Whether the next that was put off is a call.
    pub(crate) fn calls(&self, end: End) -> bool {
        matches!(self.put_off[end as usize].front(), Some(Arrival::Call))
    }
}

/// An arrival and when it is due.
pub(crate) type Due = (Duration, ConnId, End, Arrival);

pub(crate) struct Network {
    pub(crate) weather: Weather,
    pub(crate) connections: BTreeMap<ConnId, Connection>,
    /// Directions that nothing passes before then.
    blocked: BTreeMap<(HostId, HostId), Duration>,
    next: ConnId,
    random: SplitMix64,
}

impl Network {
    pub(crate) fn new(random: SplitMix64) -> Self {
        Self {
            weather: Weather::CALM,
            connections: BTreeMap::new(),
            blocked: BTreeMap::new(),
            next: 1,
            random,
        }
    }

    /// Lets nothing pass from one host to the other before `until`.
    pub(crate) fn block(&mut self, from: HostId, to: HostId, until: Duration) {
        self.blocked.insert((from, to), until);
    }

    pub(crate) fn unblock_all(&mut self) {
        self.blocked.clear();
    }

    fn arrival(&mut self, id: ConnId, to: End, now: Duration) -> Duration {
        let Weather { delay: (least, most), spike_chance, spike, .. } = self.weather;
        let range = most.saturating_sub(least).as_nanos() as u64;
        let mut delay = least + Duration::from_nanos(self.random.below(range + 1));
        if self.random.chance(spike_chance) {
            delay += Duration::from_nanos(self.random.below(spike.as_nanos() as u64 + 1));
        }
        let connection = self.connections.get_mut(&id).expect("asked for one that is there");
        let direction = (connection.hosts[to.other() as usize], connection.hosts[to as usize]);
        let free = self.blocked.get(&direction).copied().unwrap_or_default();
        let at = (now.max(free) + delay).max(connection.last_arrival[to as usize]);
        connection.last_arrival[to as usize] = at;
        at
    }

    pub(crate) fn connect(
        &mut self,
        hosts: [HostId; 2],
        lives: [u32; 2],
        now: Duration,
    ) -> (ConnId, Due) {
        let id = self.next;
        self.next += 1;
        let connection = Connection {
            hosts,
            lives,
            open: [true, false],
            silent: [false; 2],
            cut: false,
            put_off: Default::default(),
            last_arrival: [Duration::ZERO; 2],
        };
        self.connections.insert(id, connection);
        let refused = self.random.chance(self.weather.refuse_chance);
        let (to, what) = match refused {
            true => (End::Caller, Arrival::Closed("refused")),
            false => (End::Called, Arrival::Call),
        };
        let at = self.arrival(id, to, now);
        (id, (at, id, to, what))
    }

    /// What becomes of bytes that one end sends.
    pub(crate) fn send(
        &mut self,
        id: ConnId,
        from: End,
        mut bytes: Bytes,
        now: Duration,
    ) -> Vec<Due> {
        let to = from.other();
        let cut = self.random.chance(self.weather.cut_chance);
        let silence = self.random.chance(self.weather.silence_chance);
        let Some(connection) = self.connections.get_mut(&id) else { return Vec::new() };
        if !connection.open[from as usize] || connection.cut {
            return Vec::new();
        }
        connection.silent[to as usize] |= silence;
        if connection.silent[to as usize] {
            return Vec::new();
        }
        connection.cut |= cut;
        if cut {
            bytes.truncate(self.random.below(bytes.len() as u64 + 1) as usize);
        }
        let mut due = Vec::new();
        // Whoever reads must cope with any pieces.
        let pieces = if self.random.chance(100_000) { self.random.between(2, 3) } else { 1 };
        for left in (1..=pieces).rev() {
            let length = match left {
                1 => bytes.len(),
                _ => self.random.below(bytes.len() as u64 + 1) as usize,
            };
            let piece = bytes.split_to(length);
            if !piece.is_empty() {
                due.push((self.arrival(id, to, now), id, to, Arrival::Bytes(piece)));
            }
        }
        if cut {
            for end in [from, to] {
                due.push((self.arrival(id, end, now), id, end, Arrival::Closed("cut")));
            }
        }
        due
    }

    /// An arrival of something without bytes.
    pub(crate) fn signal(
        &mut self,
        id: ConnId,
        to: End,
        what: Arrival,
        now: Duration,
    ) -> Option<Due> {
        let connection = self.connections.get(&id)?;
        if connection.silent[to as usize] {
            return None;
        }
        Some((self.arrival(id, to, now), id, to, what))
    }

    /// One end closes. The other is told, unless the network has gone silent.
    pub(crate) fn close(
        &mut self,
        id: ConnId,
        end: End,
        why: &'static str,
        now: Duration,
    ) -> Option<Due> {
        let connection = self.connections.get_mut(&id)?;
        if !std::mem::take(&mut connection.open[end as usize]) {
            return None;
        }
        self.signal(id, end.other(), Arrival::Closed(why), now)
    }

    /// Connections of that host's life, each with its end there.
    pub(crate) fn of_host(&self, host: HostId) -> Vec<(ConnId, End)> {
        let ends = |(id, connection): (&ConnId, &Connection)| {
            let end = [End::Caller, End::Called]
                .into_iter()
                .find(|end| connection.hosts[*end as usize] == host)?;
            Some((*id, end))
        };
        self.connections.iter().filter_map(ends).collect()
    }

    /// Forgets connections that neither end believes in.
    pub(crate) fn sweep(&mut self, id: ConnId) {
        if self.connections.get(&id).is_some_and(|connection| connection.open == [false; 2]) {
            self.connections.remove(&id);
        }
    }
}
