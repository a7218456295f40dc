//! What every client has: connections, metadata, coordinators. Consumer, producer and admin are
//! state machines over it.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::ApiVersionsRequest;

use crate::auth::Authenticator;
use crate::coordinators::{CoordinatorKey, Coordinators};
use crate::driver::Wake;
use crate::error::{KafkaError, code};
use crate::metadata::Metadata;
use crate::network::{Action, Completion, Failure, Health, Input, Line, Network, NodeId};
use crate::random::Random;
use crate::settings::ConnectionSettings;
use crate::statistics::Schedule;
use crate::tag::Tag;
use crate::time::{Now, earlier};

/// A client without sockets, as a driver sees it. One step: [`input`](Self::input) for all that
/// arrived, then [`advance`](Self::advance); then, with the machine's lock let go, wake whom
/// [`take_wake`](Self::take_wake) names, carry out what [`action`](Self::action) gave, and wait for
/// something to arrive, for a wake-up, or for [`next_deadline`](Self::next_deadline).
pub trait Machine: Send {
    /// Something has happened on a connection.
    fn input(&mut self, input: Input, now: Now);

    /// Does what can be done now.
    fn advance(&mut self, now: Now);

    /// The next thing for the driver to do.
    fn action(&mut self) -> Option<Action>;

    /// Who has to be woken for what the step has brought. Wake it when the machine's lock is let
    /// go: whoever wakes up wants that lock.
    fn take_wake(&mut self) -> Option<Arc<dyn Wake>>;

    /// When [`advance`](Self::advance) must be called at the latest, on the clock of
    /// [`Now::mono`].
    fn next_deadline(&self, now: Now) -> Option<Duration>;
}

/// Connections, metadata and coordinators of one client.
pub(crate) struct Base {
    pub(crate) settings: Arc<ConnectionSettings>,
    pub(crate) net: Network,
    pub(crate) metadata: Metadata,
    pub(crate) coordinators: Coordinators,
    pub(crate) schedule: Schedule,
    /// Tells clients of one process apart in statistics. Whoever has several hands it in.
    pub(crate) number: u64,
    probe: bool,
    answered: bool,
    /// Whether an outage was told, or that credentials are refused, and no broker has answered
    /// since.
    down: bool,
    refused: bool,
}

/// A change in whether brokers can be reached, for the owner to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reachability {
    /// No broker is reachable.
    Down(KafkaError),
    /// Password, token or certificate are refused: no outage, for waiting does not mend it.
    Refused(KafkaError),
    /// A broker has answered after `Down`.
    Up,
}

impl Base {
    pub(crate) fn new(
        settings: Arc<ConnectionSettings>,
        authenticator: Option<Box<dyn Authenticator>>,
        random: Box<dyn Random>,
    ) -> Self {
        Self {
            net: Network::new(settings.clone(), authenticator, random),
            metadata: Metadata::new(&settings),
            coordinators: Coordinators::default(),
            schedule: Schedule::new(settings.statistics_interval),
            number: 1,
            probe: false,
            answered: false,
            down: false,
            refused: false,
            settings,
        }
    }

    /// First half of a step: time passes, what is for metadata and coordinators is taken over.
    /// Then the owner takes [`completion`](Self::completion)s, and ends with
    /// [`finish`](Self::finish).
    pub(crate) fn begin(&mut self, now: Now) {
        self.net.tick(now);
    }

    /// The next response that is for the owner.
    pub(crate) fn completion(&mut self, now: Now) -> Option<Completion> {
        loop {
            let completion = self.net.completion()?;
            self.answered |= completion.result.is_ok();
            match completion.tag {
                Tag::Metadata => {
                    self.metadata.completed(completion, &mut self.net, &self.settings, now);
                }
                Tag::Coordinator(ref key) => {
                    let key = key.clone();
                    self.coordinators.completed(&key, completion, &mut self.net, now);
                }
                Tag::Probe => {}
                _ => return Some(completion),
            }
        }
    }

    /// Second half of a step: asks for what the owner turned out to need.
    pub(crate) fn finish(&mut self, now: Now) {
        if self.net.take_failed() {
            self.metadata.refresh();
        }
        self.metadata.tick(&mut self.net, &self.settings, now);
        self.coordinators.tick(&mut self.net, &self.settings, now);
        if self.probe
            && let Some(node) = self.net.least_loaded(now)
            && let Some(version) = self.net.version::<ApiVersionsRequest>(node, (0, 0))
        {
            self.probe = false;
            let request = ApiVersionsRequest::default();
            let timeout = self.settings.request_timeout;
            self.net.send(node, &request, version, timeout, Tag::Probe, now);
        }
    }

    /// The coordinator of a group or transactional id, if it is known and ready on that line.
    pub(crate) fn coordinator(
        &mut self,
        key: &CoordinatorKey,
        line: Line,
        now: Now,
    ) -> Option<NodeId> {
        let node = self.coordinators.node(key, &self.settings)?;
        let node = self.net.line(node, line);
        self.reach(key, node, now)
    }

    fn reach(&mut self, key: &CoordinatorKey, node: NodeId, now: Now) -> Option<NodeId> {
        if self.net.ready(node, now) {
            return Some(node);
        }
        // Nothing that is out would tell that it is gone.
        if self.net.is_unreachable(node, now) {
            self.coordinators.forget(key);
        }
        None
    }

    /// Asks any broker for a sign of life.
    pub(crate) fn probe(&mut self) {
        self.probe = true;
    }

    /// What has changed about the brokers being reachable; each change is told once. To be asked
    /// until there is none.
    pub(crate) fn reachability(&mut self, now: Now) -> Option<Reachability> {
        if std::mem::take(&mut self.answered) {
            self.refused = false;
            if std::mem::take(&mut self.down) {
                return Some(Reachability::Up);
            }
        }
        match self.net.health(now) {
            // That is told by the need for one.
            Health::Down(Failure::NoToken) => None,
            Health::Down(failure @ Failure::Authentication(_)) if !self.refused => {
                self.refused = true;
                Some(Reachability::Refused(failure.into()))
            }
            Health::Down(failure) if !self.down && !self.refused => {
                self.down = true;
                let text = failure.to_string();
                Some(Reachability::Down(KafkaError::with(code::ALL_BROKERS_DOWN, Some(&text))))
            }
            _ => None,
        }
    }

    /// What is known about the brokers being reachable.
    pub(crate) fn health(&self, now: Now) -> Health {
        self.net.health(now)
    }

    pub(crate) fn next_deadline(&self, now: Now) -> Option<Duration> {
        let base = earlier(self.net.next_deadline(now), self.metadata.next_deadline(now));
        let base = earlier(base, self.coordinators.next_deadline(now));
        earlier(base, self.schedule.next_deadline())
    }
}
