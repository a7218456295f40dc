//! One run: what a seed stands for, from the first start to the last judgement.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use millstream_broker::BrokerConfig;

use crate::actor::Actor;
use crate::disk::Loss;
use crate::kernel::{Factory, Kernel, Process};
use crate::ledger::{Counts, Ledger};
use crate::nemesis::{Fault, Mood, draw};
use crate::random::SplitMix64;
use crate::server::{NAME, PORT, Server};
use crate::trace::{Sink, Trace};
use crate::workload::audit::Orders;
use crate::workload::transactional::Nature;
use crate::workload::{
    Role, Shared, TABLE, Workload, admin, audit, client, idempotent, member, reader, transactional,
};
use crate::world::{Host, HostId};

/// Everybody must have come to an end so long after the last fault.
const END_WITHIN: Duration = Duration::from_secs(150);

/// What a seed stands for.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// What runs.
    pub workload: &'static Workload,
    /// Whether every acknowledgement waits for the medium (`log.flush.interval.messages=1`).
    pub strict: bool,
    /// What goes wrong.
    pub mood: Mood,
    /// How long it goes wrong.
    pub faults_until: Duration,
}

impl Plan {
    /// Draws the plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut random = SplitMix64::stream(seed, "plan");
        let known: Vec<&'static Workload> = TABLE.iter().filter(|row| row.since <= seed).collect();
        Self {
            seed,
            workload: *random.pick(&known),
            strict: random.chance(500_000),
            mood: *random.pick(&Mood::ALL),
            faults_until: Duration::from_millis(random.between(4_000, 16_000)),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, workload, strict, mood, faults_until } = self;
        let policy = if *strict { "every write synced" } else { "nothing synced" };
        let (name, seconds) = (workload.name, faults_until.as_secs_f64());
        write!(f, "seed {seed}: {name}, {policy}, faults {mood:?} for {seconds:.1} s")
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was run.
    pub plan: Plan,
    /// What was as it must never be; empty if all is well.
    pub violations: Vec<String>,
    /// Hash over the trace.
    pub hash: u64,
    /// Lines of the trace.
    pub lines: u64,
    /// What was done.
    pub counts: Counts,
}

/// Runs a seed. Each line of the trace goes to `sink`, if there is one.
pub fn run(seed: u64, sink: Option<Sink>) -> Outcome {
    run_plan(Plan::of(seed), sink)
}

/// Runs a plan, which need not be that of its seed.
pub fn run_plan(plan: Plan, sink: Option<Sink>) -> Outcome {
    let mut stage = Stage::set(plan, sink);
    stage.play();
    let (hash, lines) = stage.kernel.trace();
    let violations = stage.kernel.violations();
    let counts = stage.shared.ledger.borrow().counts;
    Outcome { plan, violations, hash, lines, counts }
}

struct Stage {
    plan: Plan,
    kernel: Kernel,
    shared: Shared,
    broker: HostId,
    workers: Vec<HostId>,
    orders: Orders,
    random: SplitMix64,
    /// Problems of the ledger that the trace tells already.
    problems_taken: usize,
}

impl Stage {
    fn set(plan: Plan, sink: Option<Sink>) -> Self {
        let seed = plan.seed;
        let mut kernel = Kernel::new(seed, Trace::new(sink));
        let topics = plan.workload.topics;
        let mut ledger = Ledger::new(plan.strict);
        let compacted = topics.iter().filter(|topic| topic.is_compacted());
        ledger.set_compacted(compacted.map(|topic| (topic.name, topic.keeps_tombstones())));
        for topic in topics {
            ledger.set_retention(topic.name, topic.retention());
        }
        let ledger = Rc::new(RefCell::new(ledger));
        let boots = Rc::new(RefCell::new(0));
        let broker = kernel.add(seed, NAME, Duration::ZERO, true, true, |disk| {
            let boots = boots.clone();
            let disk = disk.expect("asked for");
            Box::new(move |host: &Host| {
                let ids = SplitMix64::stream(seed, &format!("ids of life {}", host.life()));
                let boots = *boots.borrow();
                Box::new(Server::new(broker_config(&plan), disk.clone(), ids, boots))
            })
        });
        let told = ledger.clone();
        kernel.on_power_loss(move |host| {
            if host == broker {
                *boots.borrow_mut() += 1;
                told.borrow_mut().power_lost();
            }
        });
        let partitions = plan.workload.partitions().into();
        let shared = Shared { ledger, broker, partitions, topics, mood: plan.mood };
        let mut stage = Self {
            plan,
            kernel,
            shared,
            broker,
            workers: Vec::new(),
            orders: Orders::default(),
            random: SplitMix64::stream(seed, "faults"),
            problems_taken: 0,
        };
        let admin = stage.add("admin", move |host, shared, random| {
            let shared = shared.clone();
            Box::new(Actor::new(host, random, |me| admin::run(me, shared, topics)))
        });
        let mut ids = Vec::new();
        for (number, role) in plan.workload.roles.iter().enumerate() {
            if let Role::Transactional { id, .. } | Role::Transactor { id, .. } = role {
                ids.push(*id);
            }
            let role = *role;
            let worker = stage
                .add(&format!("{}{number}", letter(role)), move |host, shared, random| {
                    play(role, host, shared.clone(), random)
                });
            stage.workers.push(worker);
        }
        let hosts: Vec<HostId> = [broker].into_iter().chain(stage.workers.clone()).collect();
        let span = (Duration::from_millis(100), plan.faults_until);
        for (at, fault) in draw(plan.mood, &hosts, span, &mut stage.random) {
            if at < plan.faults_until {
                stage.kernel.schedule_fault(at, fault);
            }
        }
        stage.kernel.schedule_fault(plan.faults_until, Fault::Heal);
        stage.workers.push(admin);
        let orders = stage.orders.clone();
        stage.add("audit", move |host, shared, random| {
            let (shared, orders, ids) = (shared.clone(), orders.clone(), ids.clone());
            Box::new(Actor::new(host, random, |me| audit::run(me, shared, orders, ids)))
        });
        stage
    }

    fn add(
        &mut self,
        name: &str,
        make: impl Fn(&Host, &Shared, SplitMix64) -> Box<dyn Process> + 'static,
    ) -> HostId {
        let (seed, shared) = (self.plan.seed, self.shared.clone());
        let at = Duration::from_millis(self.random.between(0, 200));
        self.kernel.add(seed, name, at, false, false, move |_| -> Factory {
            Box::new(move |host: &Host| {
                let stream = format!("{} in life {}", host.name(), host.life());
                make(host, &shared, SplitMix64::stream(seed, &stream))
            })
        })
    }

    fn play(&mut self) {
        let Plan { faults_until, .. } = self.plan;
        let ledger = self.shared.ledger.clone();
        let limit = faults_until + END_WITHIN;
        let workers = self.workers.clone();
        let ended = self.run(limit, |kernel| {
            if kernel.now() >= faults_until {
                ledger.borrow_mut().closing = true;
            }
            workers.iter().all(|worker| kernel.has_ended(*worker))
        });
        if !ended {
            let late = workers.iter().filter(|worker| !self.kernel.has_ended(**worker));
            let late: Vec<String> = late.map(|worker| self.kernel.host(*worker).name()).collect();
            self.violation(format!("{late:?} do not come to an end after the faults have"));
        }
        // Once as it is, and once more after a last start: what is there must stay.
        for round in 1..=2 {
            if !self.kernel.violations().is_empty() {
                return;
            }
            if round == 2 {
                self.last_start();
            }
            *self.orders.wanted.borrow_mut() = round;
            let done = self.orders.done.clone();
            let audited =
                self.run(self.kernel.now() + END_WITHIN, |_| done.borrow().len() >= round as usize);
            if !audited {
                self.violation("the auditor does not come to an end".into());
            }
            if !self.kernel.violations().is_empty() {
                return;
            }
            let audit = self.orders.done.borrow()[round as usize - 1].clone();
            self.shared.ledger.borrow_mut().judge(&audit);
            self.take_problems();
        }
    }

    /// Lets the broker start a last time.
    fn last_start(&mut self) {
        let host = self.broker;
        let loss = (self.plan.strict && self.random.chance(500_000)).then_some(Loss::Everything);
        let fault = match self.random.below(3) {
            0 => Fault::Stop { host, loss },
            _ => Fault::Kill { host, loss },
        };
        self.kernel.schedule_fault(self.kernel.now(), fault);
        let lives = self.kernel.host(host).life();
        let limit = self.kernel.now() + Duration::from_secs(60);
        let started = self.run(limit, |kernel| kernel.host(host).life() > lives);
        if !started {
            self.violation("the broker is not started again".into());
        }
    }

    /// Runs on until `done`. `false` if it came to the limit.
    fn run(&mut self, limit: Duration, mut done: impl FnMut(&Kernel) -> bool) -> bool {
        let ledger = self.shared.ledger.clone();
        let came =
            self.kernel.run(limit, |kernel| !ledger.borrow().problems().is_empty() || done(kernel));
        self.take_problems();
        came
    }

    fn take_problems(&mut self) {
        let problems: Vec<String> = self.shared.ledger.borrow().problems().to_vec();
        for problem in problems.into_iter().skip(self.problems_taken) {
            self.problems_taken += 1;
            self.violation(problem);
        }
    }

    fn violation(&mut self, what: String) {
        self.kernel.host(self.broker).violation(what);
    }
}

/// Settings that make much happen in a run where the client takes part.
const CLIENTS_SETTINGS: &[(&str, &str)] = &[
    ("group.initial.rebalance.delay.ms", "300"),
    ("group.consumer.min.session.timeout.ms", "500"),
    ("group.consumer.session.timeout.ms", "3000"),
    ("group.consumer.min.heartbeat.interval.ms", "100"),
    ("group.consumer.heartbeat.interval.ms", "500"),
    ("log.cleaner.backoff.ms", "150"),
];

fn broker_config(plan: &Plan) -> BrokerConfig {
    let config = BrokerConfig::new("/data")
        .advertise(NAME, PORT)
        .setting("group.min.session.timeout.ms", "500")
        .setting("log.retention.check.interval.ms", "700");
    let config = match plan.workload.since {
        0 => config,
        _ => CLIENTS_SETTINGS
            .iter()
            .fold(config, |config, (name, value)| config.setting(name, value)),
    };
    match plan.strict {
        true => config.setting("log.flush.interval.messages", "1"),
        false => config,
    }
}

fn letter(role: Role) -> &'static str {
    match role {
        Role::Idempotent => "p",
        Role::Transactional { .. } => "t",
        Role::Reader { .. } => "r",
        Role::Member { .. } => "g",
        Role::Watcher => "w",
        Role::Producer { .. } => "P",
        Role::Transactor { .. } => "T",
        Role::Consumer { .. } => "R",
        Role::Joiner { .. } => "G",
        Role::Copier { .. } => "C",
    }
}

fn play(role: Role, host: &Host, shared: Shared, random: SplitMix64) -> Box<dyn Process> {
    match role {
        Role::Idempotent => Box::new(Actor::new(host, random, |me| idempotent::run(me, shared))),
        Role::Transactional { id, newer, has_rival } => {
            let nature = Nature { id, newer, has_rival };
            Box::new(Actor::new(host, random, |me| transactional::run(me, shared, nature)))
        }
        Role::Reader { committed } => {
            Box::new(Actor::new(host, random, move |me| reader::run(me, shared, committed)))
        }
        Role::Member { group, is_static } => {
            Box::new(Actor::new(host, random, move |me| member::run(me, shared, group, is_static)))
        }
        Role::Watcher => Box::new(Actor::new(host, random, |me| client::watching::run(me, shared))),
        Role::Producer { impatient } => Box::new(Actor::new(host, random, move |me| {
            client::producing::run(me, shared, impatient)
        })),
        Role::Transactor { id, has_rival } => Box::new(Actor::new(host, random, move |me| {
            client::transacting::run(me, shared, id, has_rival)
        })),
        Role::Consumer { committed } => Box::new(Actor::new(host, random, move |me| {
            client::reading::run(me, shared, committed)
        })),
        Role::Joiner { group, assignor, is_static } => {
            let nature = client::joining::Nature { group, assignor, is_static };
            Box::new(Actor::new(host, random, move |me| client::joining::run(me, shared, nature)))
        }
        Role::Copier { id, assignor } => Box::new(Actor::new(host, random, move |me| {
            client::copying::run(me, shared, id, assignor)
        })),
    }
}
