//! Clients and the embedded broker in one process, under virtual time, everything from one seed.
//!
//! A run is a world of *hosts*, each with a process, two clocks and perhaps a disk, and a network
//! between them. Nothing in it reads the real time, sleeps, or starts a thread: an event queue says
//! what comes next, and every decision (a delay, a death, the next record) is drawn from the seed.
//! So a seed that shows a bug shows it again, as often as it takes to understand it.
//!
//! ```text
//!  scenario     what a seed stands for: workload, policy, faults; then the judgement
//!  workload     actors, clients, and the auditor               ledger: the oracles
//!  actor  link  async code on a host; requests and answers     server  machine: broker, client
//!  kernel       one event after the other                      nemesis: what goes wrong, and when
//!  world        hosts, timers, connections                     network  disk  clock  random  trace
//! ```
//!
//! What runs is real: the broker from its requests down to its files, and the client's producers,
//! transactions, consumers and groups (classic and KIP-848), each a machine with its front end,
//! driven by hand. The actors are not: they speak the protocol with hand-made requests and share no
//! code with the client, so that each can witness against the other. Both kinds take part in the
//! same runs.
//!
//! # Running
//!
//! `make sim SEEDS=50000` runs many seeds and stops at the first that fails; `make sim SEED=17`
//! runs one and prints its trace. `cargo test -p millstream-sim` runs 500, and each seed that once
//! found a bug.
//!
//! # How to read a trace
//!
//! ```text
//!       0.421337 p1       c7 asks Produce v9 #12
//!       0.421903 broker   c7 gets 214 bytes 5b0ad3f1
//!       0.422001 FAULT    DieAt { host: 0, nth: 3, kept_bytes: 17, loss: None }
//!       0.430215 broker   dies
//!       0.430998 p1       c7 reset
//!       1.204410 broker   starts (life 2)
//!       9.100000 ORACLE   offset 4 of ("plain", 1) was given to ... and to ...
//! ```
//!
//! Virtual seconds, the host, what happened. `c7` is a connection, with one number at both ends;
//! `#12` a correlation id; the hexadecimal number a checksum of the bytes, which tells two runs
//! apart where they begin to differ. Read from the `ORACLE` line upwards: the record or group that
//! it names, then the deaths and cuts before that. Hosts: `p` idempotent producers, `t`
//! transactional ones, `r` readers, `g` members of groups; in capitals the same by the client's
//! machines, with `C` for those that copy a topic exactly once and `w` for one that watches the
//! metadata. The number is their row in the workload.
//!
//! # How to add …
//!
//! * *a workload*: see [`workload`]; its row says from which seed on it is drawn, so that the seeds
//!   below, named ones among them, keep their workloads and their faults. Their runs are others
//!   after each change of what runs or of the kernel that decides what comes next. Note in the
//!   [`Ledger`](ledger::Ledger) when something is sent and when it is acknowledged, and with each
//!   the [era](ledger::Ledger::era).
//! * *a client machine*: anything that is a `millstream_client::Machine` is driven by the
//!   [`Actor`](actor::Actor) whose code uses its front end; like the other actors it notes what it
//!   is told. An actor may have several.
//! * *a fault*: a variant of [`Fault`](nemesis::Fault), its drawing in [`draw`](nemesis::draw), and
//!   what it does in [`kernel`].
//! * *the engine and its state*: both are handed time and storage already. A worker becomes a
//!   [`Process`](kernel::Process) that is stepped like a machine: its consumer and producer are the
//!   client's front ends driven by hand, its stores lie on a [`SimDisk`](disk::SimDisk) of its host
//!   (behind the state's back end in memory, which a process takes with it, or one that writes).
//!   The oracle is the one that pipelines have: outputs equal to those of an undisturbed run.
//!
//! # What is simulated, and what is not
//!
//! One broker, since the embedded one is a cluster of one. Disks fail by dying with their process
//! or machine, not by returning errors to one that lives on. A process is not preempted within a
//! step: the broker has one thread, so nothing is lost by that. TLS and SASL are not part of it,
//! nor is the client's admin. Of a client's record it is not known at which offset it was
//! acknowledged, only that it was: the oracles look for it by its name.

pub mod actor;
pub mod clock;
pub mod disk;
pub mod kernel;
pub mod ledger;
pub mod link;
pub mod machine;
pub mod nemesis;
pub mod network;
pub mod random;
pub mod scenario;
pub mod server;
pub mod trace;
pub mod workload;
mod world;

pub use scenario::{Outcome, Plan, run, run_plan};
pub use world::{Host, HostId};
