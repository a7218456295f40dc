//! What goes wrong, and when: a list of faults, drawn from the seed before the run begins.

use std::time::Duration;

use crate::disk::{Latency, Loss};
use crate::network::Weather;
use crate::random::SplitMix64;
use crate::world::HostId;

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The process dies in the `nth` change of its disk from now on, after so many bytes of it.
    /// With a loss the machine goes down, too.
    DieAt {
        /// Where.
        host: HostId,
        /// Which change; 1 is the next.
        nth: u64,
        /// Bytes that land, if it is a write.
        kept_bytes: usize,
        /// How the machine loses its power, if it does.
        loss: Option<Loss>,
    },
    /// The process dies between two steps, or the machine does.
    Kill {
        /// Where.
        host: HostId,
        /// How the machine loses its power, if it does.
        loss: Option<Loss>,
    },
    /// The process is asked to end; then the machine may lose its power.
    Stop {
        /// Where.
        host: HostId,
        /// How the machine loses its power, if it does.
        loss: Option<Loss>,
    },
    /// The process gets no CPU: garbage collection, a debugger, a suspended laptop.
    Pause {
        /// Where.
        host: HostId,
        /// For how long.
        time: Duration,
    },
    /// The wall clock is set.
    WallClock {
        /// Where.
        host: HostId,
        /// So far it is off the true time from now on.
        offset_ms: i64,
    },
    /// Nothing gets through in one direction; it arrives when that is over.
    Block {
        /// From there.
        from: HostId,
        /// To there.
        to: HostId,
        /// For how long.
        time: Duration,
    },
    /// The network gets better or worse.
    Weather(Weather),
    /// A disk gets slower or faster.
    Disk {
        /// Where.
        host: HostId,
        /// What operations cost from now on.
        latency: Latency,
    },
    /// All is well from now on.
    Heal,
}

impl Fault {
    /// The host that it needs running.
    pub(crate) fn host(&self) -> Option<HostId> {
        match self {
            Self::DieAt { host, .. }
            | Self::Kill { host, .. }
            | Self::Stop { host, .. }
            | Self::Pause { host, .. } => Some(*host),
            _ => None,
        }
    }
}

/// Which kinds of faults a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// None.
    Calm,
    /// The network's.
    Network,
    /// Processes die, pause and start anew.
    Processes,
    /// Machines lose their power.
    Power,
    /// Clocks jump, disks are slow, processes pause.
    Time,
    /// All of them.
    All,
}

impl Mood {
    /// Each of them.
    pub const ALL: [Self; 6] =
        [Self::Calm, Self::Network, Self::Processes, Self::Power, Self::Time, Self::All];

    /// Whether machines lose their power.
    pub fn loses_power(self) -> bool {
        matches!(self, Self::Power | Self::All)
    }

    /// Whether wall clocks jump.
    pub fn sets_clocks(self) -> bool {
        matches!(self, Self::Time | Self::All)
    }
}

/// A wall clock is never so far off that two of them differ by an hour: the broker refuses records
/// from so far in the future (`message.timestamp.after.max.ms`).
const WALL_OFF_MAX_MS: u64 = 25 * 60_000;

/// The faults of a run with their times, between `from` and `to`. The first of `hosts` is the
/// broker.
pub fn draw(
    mood: Mood,
    hosts: &[HostId],
    (from, to): (Duration, Duration),
    random: &mut SplitMix64,
) -> Vec<(Duration, Fault)> {
    let mut faults = Vec::new();
    if mood == Mood::Calm {
        return faults;
    }
    let between = random.between(500, 4_000);
    let mut at = from;
    loop {
        at += Duration::from_millis(random.between(between / 4, between * 2));
        if at >= to {
            return faults;
        }
        let kinds: &[u32] = match mood {
            Mood::Calm => &[],
            Mood::Network => &[0, 1, 1],
            Mood::Processes => &[2, 2, 2, 3, 4, 5],
            Mood::Power => &[2, 2, 2, 3, 4],
            Mood::Time => &[5, 6, 7],
            Mood::All => &[0, 1, 2, 2, 2, 3, 4, 5, 6, 7],
        };
        one(*random.pick(kinds), mood, hosts, at, random, &mut faults);
    }
}

fn one(
    kind: u32,
    mood: Mood,
    hosts: &[HostId],
    at: Duration,
    random: &mut SplitMix64,
    faults: &mut Vec<(Duration, Fault)>,
) {
    let broker = hosts[0];
    // The broker is who has something to lose.
    let host = if random.chance(400_000) { broker } else { *random.pick(hosts) };
    let loss = match random.below(4) {
        _ if !mood.loses_power() => None,
        0 => None,
        1 => Some(Loss::Everything),
        _ => Some(Loss::ByChance),
    };
    let millis =
        |random: &mut SplitMix64, low, high| Duration::from_millis(random.between(low, high));
    match kind {
        0 => {
            let weather = if random.chance(250_000) { Weather::STORM } else { Weather::ROUGH };
            let length = millis(random, 500, 6_000);
            faults.push((at, Fault::Weather(weather)));
            faults.push((at + length, Fault::Weather(Weather::CALM)));
        }
        1 => {
            let other = *random.pick(&hosts[1..]);
            let time = millis(random, 100, 12_000);
            let way = random.below(3);
            if way != 0 {
                faults.push((at, Fault::Block { from: broker, to: other, time }));
            }
            if way != 1 {
                faults.push((at, Fault::Block { from: other, to: broker, time }));
            }
        }
        2 => {
            let nth = random.between(1, 60);
            let kept_bytes = if random.chance(500_000) { random.below(300) as usize } else { 0 };
            faults.push((at, Fault::DieAt { host: broker, nth, kept_bytes, loss }));
        }
        3 => faults.push((at, Fault::Kill { host, loss })),
        4 => faults.push((at, Fault::Stop { host, loss })),
        5 => {
            let time = match random.below(3) {
                0 => millis(random, 10, 300),
                1 => millis(random, 300, 3_000),
                _ => millis(random, 3_000, 15_000),
            };
            faults.push((at, Fault::Pause { host, time }));
        }
        6 => {
            let off = random.below(2 * WALL_OFF_MAX_MS + 1) as i64 - WALL_OFF_MAX_MS as i64;
            let offset_ms = if random.chance(300_000) { off } else { off / 500 };
            faults.push((at, Fault::WallClock { host, offset_ms }));
        }
        _ => {
            let length = millis(random, 200, 5_000);
            faults.push((at, Fault::Disk { host: broker, latency: Latency::SLOW }));
            faults.push((at + length, Fault::Disk { host: broker, latency: Latency::FAST }));
        }
    }
}
