//! What a user holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_types::{Clock, Offset, SystemClock};

use super::codes::INVALID_TOPIC;
use super::machine::ProducerCore;
use super::queue::{NotTaken, Shared};
use super::tracked::DeliveryReport;
use super::transaction::{Command, GroupMetadata, Phase, TransactionOffset};
use super::{FlushId, ProduceError, ProduceRecord, ProducerEvent, TopicHandle, TransactionRequest};
use crate::auth::{self, OAuthToken};
use crate::base::Machine;
use crate::driver::{self, Driven, SystemRandom, Wake};
use crate::error::{Error, KafkaError, code};
use crate::random::Random;
use crate::settings::{ConnectionSettings, ProducerSettings};

/// Longest name that a topic can have.
const TOPIC_NAME_MAX: usize = 249;

/// Writes records. Used from one thread. Dropping it ends its thread; what is not delivered by
/// then is lost, so [`flush`](Self::flush) first.
pub struct Producer {
    driven: Driven<ProducerCore>,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    by_name: HashMap<Arc<str>, TopicHandle>,
    names: Vec<Arc<str>>,
    next_request: u64,
}

impl Producer {
    /// A producer with a thread of its own, on real sockets. Does not wait for a connection.
    ///
    /// # Errors
    /// [`Error::Setting`] if a setting cannot be, or if the operating system has no thread or no
    /// descriptor to give.
    pub fn start(
        connection: &ConnectionSettings,
        settings: &ProducerSettings,
    ) -> Result<Self, Error> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random = Box::new(SystemRandom::default());
        let mut core = Self::core(connection, settings, random, clock.clone())?;
        core.base.number = driver::next_number();
        let shared = core.shared();
        let driven =
            Driven::start(core, connection, "millstream-producer").map_err(driver::start_error)?;
        Ok(Self::new(driven, shared, clock))
    }

    /// A producer that the caller drives: see [`machine`](Self::machine).
    ///
    /// # Errors
    /// [`Error::Setting`] if a setting cannot be.
    pub fn by_hand(
        connection: &ConnectionSettings,
        settings: &ProducerSettings,
        clock: Arc<dyn Clock>,
        random: Box<dyn Random>,
    ) -> Result<Self, Error> {
        let core = Self::core(connection, settings, random, clock.clone())?;
        let shared = core.shared();
        Ok(Self::new(Driven::by_hand(core, clock.clone()), shared, clock))
    }

    fn core(
        connection: &ConnectionSettings,
        settings: &ProducerSettings,
        random: Box<dyn Random>,
        clock: Arc<dyn Clock>,
    ) -> Result<ProducerCore, Error> {
        settings.check()?;
        let authenticator = auth::authenticator(connection);
        let (connection, settings) = (Arc::new(connection.clone()), Arc::new(settings.clone()));
        Ok(ProducerCore::new(connection, settings, authenticator, random, clock))
    }

    fn new(driven: Driven<ProducerCore>, shared: Arc<Shared>, clock: Arc<dyn Clock>) -> Self {
        let (by_name, names) = (HashMap::new(), Vec::new());
        Self { driven, shared, clock, by_name, names, next_request: 1 }
    }

    /// The machine, for whoever drives it.
    pub fn machine(&self) -> Arc<Mutex<dyn Machine>> {
        self.driven.share()
    }

    /// The handle of a topic, the same for the same name. Does not ask the brokers.
    ///
    /// # Errors
    /// [`Error::Kafka`] (INVALID_TOPIC_EXCEPTION) for a name that cannot be.
    pub fn topic(&mut self, name: &str) -> Result<TopicHandle, Error> {
        if let Some(handle) = self.by_name.get(name) {
            return Ok(*handle);
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty()
            || name.len() > TOPIC_NAME_MAX
            || matches!(name, "." | "..")
            || !name.chars().all(legal)
        {
            let error = KafkaError::with(
                INVALID_TOPIC,
                Some("a topic's name has 1 to 249 of the characters a-z, A-Z, 0-9, '.', '_', '-'"),
            );
            return Err(Error::kafka(format!("open topic {name:?}"), error));
        }
        let name: Arc<str> = name.into();
        let handle = TopicHandle(self.shared.lock().add_topic(name.clone()));
        self.by_name.insert(name.clone(), handle);
        self.names.push(name);
        self.driven.wake();
        Ok(handle)
    }

    /// Queues a copy of `record`.
    ///
    /// # Errors
    /// [`ProduceError::QueueFull`] as back-pressure: the waker is called when there is room.
    /// [`ProduceError::Refused`] for a record that cannot be produced.
    ///
    /// # Panics
    /// If the topic's handle is of another producer.
    pub fn produce(&mut self, record: &ProduceRecord<'_>) -> Result<(), ProduceError> {
        let taken = self.shared.lock().append(record, None, &*self.clock);
        self.taken(record, taken)
    }

    /// Queues a copy of `record`, whose delivery [`poll_reports`](Self::poll_reports) will tell
    /// with `token`. Reports that were not fetched yet count for the queue's bound.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use millstream_client::driver::SystemRandom;
    /// use millstream_client::producer::{Partition, ProduceRecord, Producer};
    /// use millstream_client::settings::{ConnectionSettings, ProducerSettings};
    /// use millstream_types::{HeadersView, ManualClock};
    ///
    /// let brokers = ConnectionSettings { bootstrap: vec![("a".into(), 9092)], ..Default::default() };
    /// let (clock, random) = (Arc::new(ManualClock::new(0)), Box::new(SystemRandom::default()));
    /// // With `start` instead it would have a thread of its own.
    /// let mut producer =
    ///     Producer::by_hand(&brokers, &ProducerSettings::default(), clock, random)?;
    /// let record = ProduceRecord {
    ///     topic: producer.topic("orders")?,
    ///     partition: Partition::ByKey,
    ///     key: Some(b"ann"),
    ///     value: Some(b"1"),
    ///     headers: HeadersView::default(),
    ///     timestamp: None,
    /// };
    /// producer.produce_reported(&record, 7)?;
    /// producer.purge();
    /// let mut reports = Vec::new();
    /// producer.poll_reports(std::time::Duration::ZERO, &mut reports)?;
    /// assert_eq!(reports[0].token, 7);
    /// assert_eq!(reports[0].result.as_ref().unwrap_err().name(), "_PURGE_QUEUE");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`produce`](Self::produce); such a record is not reported.
    ///
    /// # Panics
    /// If the topic's handle is of another producer.
    pub fn produce_reported(
        &mut self,
        record: &ProduceRecord<'_>,
        token: u64,
    ) -> Result<(), ProduceError> {
        let taken = self.shared.lock().append(record, Some(token), &*self.clock);
        self.taken(record, taken)
    }

    #[inline]
    fn taken(
        &self,
        record: &ProduceRecord<'_>,
        taken: Result<bool, NotTaken>,
    ) -> Result<(), ProduceError> {
        match taken {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.driven.wake();
                Ok(())
            }
            Err(not_taken) => Err(self.refused(record, not_taken)),
        }
    }

    #[cold]
    fn refused(&self, record: &ProduceRecord<'_>, why: NotTaken) -> ProduceError {
        match why {
            NotTaken::Full => ProduceError::QueueFull,
            NotTaken::Refused(error) => ProduceError::Refused {
                topic: self.names[record.topic.0 as usize].clone(),
                partition: record.partition.named(),
                error,
            },
        }
    }

    /// Appends what happened to `events`. Never waits.
    pub fn poll(&mut self, events: &mut Vec<ProducerEvent>) {
        self.shared.lock().take_events(events);
        events.extend(self.driven.take_death().map(ProducerEvent::Fatal));
    }

    /// Appends what became of records with a token to `reports`, waiting up to `wait` for the
    /// first. A producer that is driven by hand must be driven by another thread meanwhile.
    ///
    /// # Errors
    /// If the producer's thread has ended, and nothing will be reported any more.
    pub fn poll_reports(
        &mut self,
        wait: Duration,
        reports: &mut Vec<DeliveryReport>,
    ) -> Result<(), KafkaError> {
        let (before, end) = (reports.len(), self.driven.now().after(wait));
        loop {
            let dead = self.driven.is_dead();
            self.shared.lock().take_reports(reports);
            let now = self.driven.now().mono;
            if reports.len() > before || (now >= end && !dead) {
                return Ok(());
            }
            if dead {
                return Err(driver::death());
            }
            self.shared.answered.wait(end - now);
        }
    }

    /// Who is woken when [`poll`](Self::poll) has something to report, or when a queue that was
    /// full has room again.
    pub fn set_waker(&mut self, waker: Arc<dyn Wake>) {
        self.shared.lock().set_waker(waker);
        // It may be that there is something already.
        self.driven.wake();
    }

    /// Asks that everything produced so far be sent without lingering, and to be told by
    /// `FlushDone` when all of it is delivered or given up. Producing may go on.
    pub fn begin_flush(&mut self) -> FlushId {
        let (id, _) = self.shared.lock().begin_flush();
        // Also with nothing to send: the waker is called by the driver.
        self.driven.wake();
        id
    }

    /// Records that are neither delivered nor given up yet.
    pub fn in_flight(&self) -> u64 {
        self.shared.lock().records()
    }

    /// Records that are neither delivered nor given up yet, or whose report was not fetched.
    pub fn unreported(&self) -> u64 {
        self.shared.lock().unreported()
    }

    /// Sends what is queued without lingering. Does not wait.
    pub fn hurry(&mut self) {
        self.shared.lock().nudge();
        self.driven.wake();
    }

    /// The highest offset that `partition` of `topic` has acknowledged to this producer. `None`
    /// also with `acks=0`, where brokers tell no offsets.
    ///
    /// # Panics
    /// If the topic's handle is of another producer.
    pub fn last_delivered(&self, topic: TopicHandle, partition: i32) -> Option<Offset> {
        self.shared.lock().last_delivered(topic.0, partition)
    }

    /// Gives up everything that is queued or on its way; each record is reported as failed. What
    /// is on its way may be written all the same.
    pub fn purge(&mut self) {
        let mut queue = self.shared.lock();
        queue.purge();
        queue.commands.push(Command::Purge);
        drop(queue);
        self.driven.wake();
    }

    /// Asks any broker for a sign of life; `BrokersUp` follows if one answers and `BrokersDown`
    /// was reported. Does not wait.
    pub fn probe(&mut self) {
        self.command(Command::Probe);
    }

    /// Answers `OAuthTokenNeeded`. An error text is reported, and the token is asked for again later.
    ///
    /// # Errors
    /// [`Error::Kafka`] if the token cannot be used.
    pub fn set_oauth_token(&mut self, token: Result<OAuthToken, &str>) -> Result<(), Error> {
        let now = self.driven.now();
        let done = self.driven.lock().set_token(token, now);
        self.driven.wake();
        done
    }

    /// Waits up to `timeout` until nothing is in flight and returns what still is. For tools; a
    /// worker uses [`begin_flush`](Self::begin_flush). Events that turn up meanwhile are appended
    /// to `events`. A producer that is driven by hand must be driven by another thread meanwhile.
    pub fn flush(&mut self, timeout: Duration, events: &mut Vec<ProducerEvent>) -> u64 {
        let end = self.driven.now().after(timeout);
        let mut left = self.shared.lock().nudge();
        self.driven.wake();
        loop {
            self.poll(events);
            let now = self.driven.now().mono;
            if left == 0 || now >= end {
                return left;
            }
            self.shared.answered.wait(end - now);
            left = self.in_flight();
        }
    }

    fn command(&mut self, command: Command) {
        self.shared.lock().commands.push(command);
        self.driven.wake();
    }

    fn request(&mut self) -> TransactionRequest {
        let request = TransactionRequest(self.next_request);
        self.next_request += 1;
        request
    }

    /// Registers the transactional id: fences producers of the same id, ends what they left open.
    /// `TransactionDone` tells when transactions can begin. Tried until it succeeds or can never
    /// succeed (KIP-98).
    ///
    /// # Errors
    /// [`Error::Misuse`] without `transactional.id`, or the second time; [`Error::Kafka`] if the
    /// producer has failed.
    pub fn init_transactions(&mut self) -> Result<TransactionRequest, Error> {
        self.check("init_transactions", |phase| match phase {
            Phase::New => Ok(()),
            _ => Err("init_transactions is called once, before the first transaction"),
        })?;
        Ok(self.transaction_command(Phase::Starting, Command::Init))
    }

    /// Begins a transaction; what is produced from here on is part of it.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it is not the time for it; [`Error::Kafka`] if the transaction before
    /// has failed and was not aborted, or the producer has failed.
    pub fn begin_transaction(&mut self) -> Result<(), Error> {
        self.check("begin a transaction", |phase| match phase {
            Phase::Ready => Ok(()),
            Phase::New => Err("call init_transactions before the first begin_transaction"),
            Phase::Starting => Err("wait for TransactionDone of init_transactions before begin"),
            Phase::Open => Err("commit or abort the transaction before beginning another"),
            _ => Err("wait for TransactionDone of commit or abort before beginning another"),
        })?;
        let mut queue = self.shared.lock();
        queue.set_phase(Phase::Open);
        queue.commands.push(Command::Begin);
        Ok(())
    }

    /// Makes positions of a consumer part of the transaction; `TransactionDone` tells when they
    /// are (KIP-447). Commit does not have to wait for it.
    ///
    /// # Errors
    /// [`Error::Misuse`] outside of a transaction; [`Error::Kafka`] if it has failed.
    pub fn send_offsets(
        &mut self,
        offsets: Vec<TransactionOffset>,
        group: GroupMetadata,
    ) -> Result<TransactionRequest, Error> {
        self.check("send offsets to the transaction", |phase| match phase {
            Phase::Open => Ok(()),
            _ => Err("offsets are sent between begin_transaction and commit_transaction"),
        })?;
        let make = |request| Command::Offsets(request, group, offsets);
        Ok(self.transaction_command(Phase::Open, make))
    }

    /// Commits the transaction once all of its records are delivered. `TransactionDone` tells
    /// what came of it; if that is an error with [`Remedy::Abort`](crate::Remedy::Abort), abort.
    ///
    /// # Errors
    /// [`Error::Misuse`] outside of a transaction; [`Error::Kafka`] if it has failed.
    pub fn commit_transaction(&mut self) -> Result<TransactionRequest, Error> {
        self.check("commit the transaction", |phase| match phase {
            Phase::Open => Ok(()),
            Phase::Ending => Err("wait for TransactionDone of commit or abort"),
            _ => Err("call begin_transaction before commit_transaction"),
        })?;
        self.shared.lock().nudge();
        Ok(self.transaction_command(Phase::Ending, Command::Commit))
    }

    /// Aborts the transaction: what was not sent yet is given up and reported, what was sent does
    /// not count. `TransactionDone` tells when the next one can begin.
    ///
    /// # Errors
    /// [`Error::Misuse`] outside of a transaction; [`Error::Kafka`] if the producer has failed.
    pub fn abort_transaction(&mut self) -> Result<TransactionRequest, Error> {
        self.check("abort the transaction", |phase| match phase {
            Phase::Open | Phase::Failed(_) => Ok(()),
            Phase::Ending => Err("wait for TransactionDone of commit or abort"),
            _ => Err("there is no transaction to abort; call begin_transaction first"),
        })?;
        self.shared.lock().purge();
        Ok(self.transaction_command(Phase::Ending, Command::Abort))
    }

    /// Whether a call fits the phase that the transaction is in.
    fn check(
        &self,
        action: &str,
        fits: impl Fn(&Phase) -> Result<(), &'static str>,
    ) -> Result<(), Error> {
        let queue = self.shared.lock();
        match (&queue.phase, fits(&queue.phase)) {
            (_, Ok(())) => Ok(()),
            (Phase::Without, _) => {
                Err(Error::Misuse("transactions need the setting transactional.id"))
            }
            (phase @ (Phase::Failed(_) | Phase::Fatal(_)), Err(_)) => {
                let error = phase.refusal().unwrap_or_else(|| KafkaError::of(code::STATE));
                Err(Error::kafka(action, error))
            }
            (_, Err(why)) => Err(Error::Misuse(why)),
        }
    }

    fn transaction_command(
        &mut self,
        phase: Phase,
        make: impl FnOnce(TransactionRequest) -> Command,
    ) -> TransactionRequest {
        let request = self.request();
        let mut queue = self.shared.lock();
        // It may have failed since it was looked at; then the machine answers.
        if !matches!(queue.phase, Phase::Fatal(_)) {
            queue.set_phase(phase);
        }
        queue.commands.push(make(request));
        drop(queue);
        self.driven.wake();
        request
    }
}
