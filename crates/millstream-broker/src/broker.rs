//! The broker without I/O of its own: requests and time go in, answers come out.
//!
//! [`Broker::handle`] takes one request. Most are answered at once; a JoinGroup, a SyncGroup or
//! a Fetch may have to wait, and its answer comes out of [`Broker::take_answers`] after a later
//! request or [`Broker::tick`]. Whoever drives the broker calls `tick` at
//! [`Broker::next_deadline`]. Clock, disk and randomness are handed in, so the same sequence of
//! calls gives the same answers and the same files.

mod access;
mod authentication;
mod cleaning;
mod ending;
mod last_run;
mod peer;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_types::Clock;

use crate::api;
use crate::config::BrokerConfig;
use crate::coordinator::Coordinator;
use crate::disk::Disk;
use crate::fetches::Fetches;
use crate::group::{GroupSettings, Output, Ticket};
use crate::journal::{Durability, Fields, Journal};
use crate::log::Recovery;
use crate::random::Random;
use crate::security::{Secrets, Security, SecurityProtocol};
use crate::settings::{Settings, Values};
use crate::topics::Topics;
use crate::transactions::{Now, Transactions};
use crate::wire::{self, Frame, Malformed, RequestHeader};
pub(crate) use access::VisibleTopics;
pub(crate) use ending::OFFSETS_TOPIC;
use last_run::{CLEAN_STOP, make_durable, note_boot, recovery_needed};
pub(crate) use peer::Peer;

/// This broker's number in its cluster of one.
pub(crate) const NODE_ID: i32 = 1;
/// Producer ids are taken from the journal in blocks of this size.
const PRODUCER_ID_BLOCK: i64 = 1000;
/// No broker gives out so many: a producer that claims such an id has made it up, and must not
/// use up the ids of the others.
const PRODUCER_ID_MAX: i64 = 1 << 62;
/// Logs are not flushed by time more often than this, in milliseconds.
const FLUSH_MS_MIN: i64 = 10;
/// A tick that comes later than this tells that the broker itself was held up.
const LATE_MIN: Duration = Duration::from_millis(50);
/// So long it takes at most to read what has gathered in the sockets meanwhile.
const CATCH_UP: Duration = Duration::from_secs(1);
/// Where rules and credentials lie, beside the journals that others may read.
pub(crate) const SECURITY_DIR: &str = "security";
const CLUSTER_KEY: &[u8] = b"c";
const PRODUCER_KEY: &[u8] = b"p";
const BROKER_SETTING_KEY: u8 = b'b';
const ALL_BROKERS_SETTING_KEY: u8 = b'd';

/// Whose request it is, and how to answer.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Names the request while it waits.
    pub(crate) ticket: Ticket,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: String,
    /// The client's address, as groups show it.
    pub(crate) host: String,
    /// Who the client is, such as `User:ann`.
    pub(crate) principal: Arc<str>,
    /// Which listener was asked: others are not for this client.
    pub(crate) listener: usize,
}

/// What became of a request.
#[derive(Debug)]
pub enum Reply {
    /// The answer.
    Now(Frame),
    /// The answer comes later, under this ticket.
    Later(Ticket),
    /// No answer is wanted.
    Nothing,
    /// The connection must be closed.
    Close(String),
    /// The client is not who it says: the connection must be closed, with this answer (none if
    /// empty), after `connection.failed.authentication.delay.ms`.
    Unauthenticated {
        /// The answer, as a frame.
        answer: Bytes,
        /// For the log.
        reason: String,
    },
}

/// How clients of a listener reach the broker.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) protocol: SecurityProtocol,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// The broker: the module `server` shows what has to be around it. The requests of one
/// connection are handed in one at a time, the next after the answer to the one before.
pub struct Broker {
    pub(crate) settings: Settings,
    pub(crate) topics: Topics,
    pub(crate) coordinator: Coordinator,
    pub(crate) transactions: Transactions,
    pub(crate) fetches: Fetches,
    pub(crate) meta: Journal,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Box<dyn Random>,
    pub(crate) cluster_id: String,
    /// By listener; at least one.
    endpoints: Vec<Endpoint>,
    pub(crate) security: Security,
    pub(crate) data_dir: PathBuf,
    /// Buffer for unpacking batches, reused.
    pub(crate) scratch: Vec<u8>,
    producer_ids: std::ops::Range<i64>,
    /// Joins and syncs that wait.
    waiting: HashMap<Ticket, Context>,
    answers: Vec<(Ticket, Frame)>,
    next_ticket: Ticket,
    next_chores: Duration,
    /// Until when what has gathered in the sockets at the last delay is being read.
    caught_up_at: Duration,
    cleaner: cleaning::Cleaner,
    retention_interval_ms: i64,
    disk: Arc<dyn Disk>,
}

impl Broker {
    /// Opens the data directory. `boot_id` tells a death of the process from one of the machine:
    /// it differs from run to run of the machine; an empty one is never the same. Nothing locks the
    /// directory and nothing listens: `listening_on` is what clients are told, unless the
    /// configuration advertises something else.
    ///
    /// # Errors
    /// What the disk says, or that a setting is wrong.
    pub fn open(
        config: &BrokerConfig,
        listening_on: &[SocketAddr],
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        mut random: Box<dyn Random>,
        boot_id: &str,
    ) -> io::Result<Self> {
        let dir = config.data_dir.clone();
        let mut settings = Settings::new(&config.settings).map_err(io::Error::other)?;
        let endpoints: Vec<Endpoint> = config
            .listeners
            .iter()
            .zip(listening_on)
            .map(|(listener, address)| Endpoint::of(listener, *address))
            .collect();
        let listed = |texts: Vec<String>| texts.join(",");
        let bound = config.listeners.iter().zip(listening_on);
        let bound = bound.map(|(listener, address)| format!("{}://{address}", listener.protocol));
        settings.set_static("listeners", listed(bound.collect()));
        let advertised = endpoints.iter().map(ToString::to_string);
        settings.set_static("advertised.listeners", listed(advertised.collect()));
        settings.set_static("log.dirs", dir.join("topics").display().to_string());
        let recovery = recovery_needed(&*disk, &dir, boot_id)?;
        make_durable(&*disk, &dir, recovery);
        let journals = dir.join("journals");
        // Changes of topics and settings are rare, and much is lost with one of them.
        let mut meta = Journal::open(Arc::clone(&disk), &journals, "meta", Durability::Synced)?;
        settings.dynamic = setting_entries(&meta, BROKER_SETTING_KEY);
        settings.dynamic_default = setting_entries(&meta, ALL_BROKERS_SETTING_KEY);
        let durability = match (syncs_offsets(&settings), recovery) {
            (true, _) => Durability::Synced,
            (false, Recovery::MachineCrash) => Durability::CachedAndLost,
            (false, _) => Durability::Cached,
        };
        let groups = Journal::open(Arc::clone(&disk), &journals, "groups", durability)?;
        let transactions = Journal::open(Arc::clone(&disk), &journals, "transactions", durability)?;
        let security = match config.security.keeps_something() {
            true => {
                let dir = dir.join(SECURITY_DIR);
                Some(Journal::open(Arc::clone(&disk), &dir, "security", Durability::Synced)?)
            }
            false => None,
        };
        let security = Security::open(&config.security, security)?;
        let cluster_id = match meta.get(CLUSTER_KEY) {
            Some(id) => String::from_utf8_lossy(id).into_owned(),
            None => {
                let id = api::base64(random.uuid().as_bytes());
                meta.commit(vec![(CLUSTER_KEY.to_vec(), Some(id.clone().into_bytes()))])?;
                id
            }
        };
        // From here on files change that a clean stop vouched for.
        disk.remove_file(&dir.join(CLEAN_STOP))?;
        disk.sync_dir(&dir)?;
        let topics =
            Topics::open(Arc::clone(&disk), dir.join("topics"), &meta, &settings, recovery)?;
        note_boot(&*disk, &dir, boot_id)?;
        let now = clock.monotonic();
        // Kafka cannot change it while running either, so it is read once.
        let retention_interval_ms = settings.number("log.retention.check.interval.ms");
        let coordinator = Coordinator::open(groups, now, clock.wall());
        let both = Now { monotonic: now, wall_ms: clock.wall() };
        let transactions = Transactions::open(transactions, both)?;
        // An id whose reservation was lost with the machine, or with the journal, must not be
        // given out again: its new owner's records would be taken for repetitions.
        let in_logs = topics.highest_producer_id(PRODUCER_ID_MAX);
        let seen = in_logs.max(transactions.highest_producer_id()).map_or(0, |id| id + 1);
        let cleaner = cleaning::Cleaner::new(settings.flag("log.cleaner.enable"), now);
        let mut broker = Self {
            settings,
            topics,
            coordinator,
            transactions,
            fetches: Fetches::default(),
            meta,
            clock,
            random,
            cluster_id,
            endpoints,
            security,
            data_dir: dir,
            scratch: Vec::new(),
            producer_ids: seen..seen,
            waiting: HashMap::new(),
            answers: Vec::new(),
            next_ticket: 1,
            next_chores: now,
            caught_up_at: Duration::ZERO,
            cleaner,
            retention_interval_ms,
            disk,
        };
        broker.next_chores = now + broker.chore_interval();
        broker.recover_transactions();
        Ok(broker)
    }

    /// Takes one request, a frame without its length, of a client at that address (`host`) that came
    /// by the first listener and that nobody asks who it is: for a broker without security, since
    /// only its server reads users and certificates.
    ///
    /// # Errors
    /// [`Malformed`]: the connection must be closed.
    pub fn handle(&mut self, frame: Bytes, host: &str) -> Result<Reply, Malformed> {
        self.receive(frame, &mut Peer::unknown(host, 0))
    }

    /// Takes one request of a client by any listener: a frame without its length.
    ///
    /// # Errors
    /// [`Malformed`]: the connection must be closed.
    pub(crate) fn receive(
        &mut self,
        mut frame: Bytes,
        peer: &mut Peer,
    ) -> Result<Reply, Malformed> {
        if let Some(reply) = self.authenticate(&frame, peer)? {
            return Ok(reply);
        }
        let header = wire::read_header(&mut frame)?;
        let context = self.context(&header, peer);
        let reply = api::dispatch(self, header.api_key, &context, frame)?;
        // A topic may have come that wants its chores sooner.
        self.next_chores = self.next_chores.min(self.clock.monotonic() + self.chore_interval());
        self.settle();
        Ok(reply)
    }

    /// Takes over what was read from the files that were named at the start.
    pub(crate) fn secure(&mut self, secrets: Secrets) {
        let names: Vec<&str> = secrets.mechanisms.iter().map(|known| known.name()).collect();
        if !names.is_empty() {
            self.settings.set_static("sasl.enabled.mechanisms", names.join(","));
        }
        self.security.secrets = secrets;
    }

    fn context(&mut self, header: &RequestHeader, peer: &Peer) -> Context {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        Context {
            ticket,
            version: header.version,
            correlation_id: header.correlation_id,
            client_id: header.client_id.clone().unwrap_or_default(),
            host: peer.host.clone(),
            principal: Arc::clone(&peer.principal),
            listener: peer.listener,
        }
    }

    /// Answers to requests that had to wait.
    pub fn take_answers(&mut self) -> Vec<(Ticket, Frame)> {
        std::mem::take(&mut self.answers)
    }

    /// Whoever sent the request is gone.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
        self.fetches.cancel(ticket);
    }

    /// When [`tick`](Self::tick) must be called at the latest.
    pub fn next_deadline(&self) -> Duration {
        self.promised().min(self.cleaner.deadline().unwrap_or(Duration::MAX))
    }

    /// The earliest deadline that somebody outside can notice; compaction may come later.
    fn promised(&self) -> Duration {
        [self.coordinator.deadline(), self.transactions.deadline(), self.fetches.deadline()]
            .into_iter()
            .flatten()
            .fold(self.next_chores, Duration::min)
    }

    /// Does what is due.
    pub fn tick(&mut self) {
        let now = self.clock.monotonic();
        let late = now.saturating_sub(self.promised());
        if late > LATE_MIN {
            // Heartbeats of that time lie unread in the sockets: nobody's session ends for it.
            // Transactions get no time back: their time-outs run by the wall clock, also over a
            // restart.
            // What lies in the sockets is read within that second: one that is held up time and
            // again must not put its groups' deadlines off faster than the clock runs.
            let catch_up = if now < self.caught_up_at { Duration::ZERO } else { CATCH_UP };
            self.caught_up_at = now + CATCH_UP;
            tracing::warn!(?late, "the broker was held up; groups get that time back");
            self.coordinator.put_off(late + catch_up);
        }
        self.coordinator.tick(now, self.clock.wall());
        self.tick_transactions();
        self.fetches.expire(now);
        if now >= self.next_chores {
            self.next_chores = now + self.chore_interval();
            self.chores();
        }
        self.tick_cleaner(now);
        self.settle();
    }

    /// Stops: waits until everything is on the medium and notes that it is.
    ///
    /// # Errors
    /// What the disk says; the next start will scan then.
    pub fn close(&mut self) -> io::Result<()> {
        self.topics.close()?;
        self.coordinator.make_durable()?;
        self.transactions.make_durable()?;
        self.security.make_durable()?;
        self.meta.sync()?;
        let note = self.disk.file(&self.data_dir.join(CLEAN_STOP));
        note.write_at(b"1", 0)?;
        note.sync()?;
        self.disk.sync_dir(&self.data_dir)
    }

    /// Parks a JoinGroup or SyncGroup until its group answers.
    pub(crate) fn wait_for_group(&mut self, context: &Context) -> Reply {
        self.waiting.insert(context.ticket, context.clone());
        Reply::Later(context.ticket)
    }

    /// Settings that the group state machine obeys.
    pub(crate) fn group_settings(&self) -> GroupSettings {
        let millis = |name: &str| Duration::from_millis(self.settings.number(name).max(0) as u64);
        GroupSettings {
            initial_delay: millis("group.initial.rebalance.delay.ms"),
            session_timeout: (
                millis("group.min.session.timeout.ms"),
                millis("group.max.session.timeout.ms"),
            ),
            max_size: usize::try_from(self.settings.number("group.max.size")).unwrap_or(0),
        }
    }

    /// A producer id that was never given out before.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn new_producer_id(&mut self) -> io::Result<i64> {
        if self.producer_ids.is_empty() {
            let from = self.meta.get(PRODUCER_KEY).and_then(|value| Fields(value).i64());
            let from = from.unwrap_or(0).max(self.producer_ids.end);
            let to = from + PRODUCER_ID_BLOCK;
            self.meta.commit(vec![(PRODUCER_KEY.to_vec(), Some(to.to_be_bytes().to_vec()))])?;
            self.producer_ids = from..to;
        }
        Ok(self.producer_ids.next().expect("filled above"))
    }

    /// Replaces the settings that were changed while running, of this broker or of all.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn set_dynamic(&mut self, for_all: bool, values: Values) -> io::Result<()> {
        let kind = if for_all { ALL_BROKERS_SETTING_KEY } else { BROKER_SETTING_KEY };
        let key = |name: &str| [&[kind], name.as_bytes()].concat();
        let old = setting_entries(&self.meta, kind);
        let gone = old.keys().filter(|name| !values.contains_key(*name));
        let mut changes: Vec<_> = gone.map(|name| (key(name), None)).collect();
        changes.extend(values.iter().map(|(name, value)| (key(name), Some(value.clone().into()))));
        self.meta.commit(changes)?;
        if for_all {
            self.settings.dynamic_default = values;
        } else {
            self.settings.dynamic = values;
        }
        self.topics.settings_changed(&self.settings);
        self.coordinator.set_sync(syncs_offsets(&self.settings));
        self.transactions.set_sync(syncs_offsets(&self.settings));
        Ok(())
    }

    /// Builds the answers that have become due.
    fn settle(&mut self) {
        for output in self.coordinator.take_due() {
            let (Output::Join(ticket, _) | Output::Sync(ticket, _)) = &output else { continue };
            let Some(context) = self.waiting.remove(ticket) else { continue };
            let answer = match output {
                Output::Join(_, answer) => api::join_group::answer(&context, answer),
                Output::Sync(_, answer) => api::sync_group::answer(&context, answer),
                Output::Store => continue,
            };
            self.answers.push((context.ticket, answer.into()));
        }
        for (ticket, fetch) in self.fetches.take_ready() {
            let answer = api::fetch::answer(self, &fetch);
            self.answers.push((ticket, answer));
        }
    }

    /// How often logs are looked after: retention has its own setting, and a topic with
    /// `flush.ms` wants it that often (though not in a busy loop).
    fn chore_interval(&self) -> Duration {
        let flush = self.topics.shortest_flush_ms().max(FLUSH_MS_MIN);
        Duration::from_millis(self.retention_interval_ms.min(flush) as u64)
    }

    fn chores(&mut self) {
        let wall = self.clock.wall();
        for topic in self.topics.iter_mut() {
            for (partition, log) in topic.partitions.iter_mut().enumerate() {
                match log.tick(&topic.config, wall) {
                    Ok(true) => self.fetches.moved(topic.id, partition as i32),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::error!(topic = %topic.name, partition, %error, "log maintenance failed");
                    }
                }
            }
        }
        let retention = self.settings.number("offsets.retention.minutes").saturating_mul(60_000);
        if let Err(error) = self.coordinator.expire(wall, retention) {
            tracing::error!(%error, "cannot forget old groups");
        }
        self.expire_transactional_ids();
    }
}

/// Whether a commit of offsets, and each step of a transaction, waits for the medium.
fn syncs_offsets(settings: &Settings) -> bool {
    settings.number("log.flush.interval.messages") == 1
}

fn setting_entries(meta: &Journal, kind: u8) -> Values {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    meta.scan(&[kind]).map(|(key, value)| (text(&key[1..]), text(value))).collect()
}
