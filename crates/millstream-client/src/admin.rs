//! Managing a cluster: topics, settings, groups, offsets, rights, transactions.
//!
//! [`Admin`] is used from one thread; its calls block up to their `timeout`. A call about several
//! things answers for each one, in the order asked; the outer error is for the request as a whole.
//! Errors that pass (an election, a coordinator on the move, a lost connection) are tried again
//! with fresh metadata until the time is up.
//!
//! ```text
//!  topics configs offsets groups acls …   one module per family: types, requests, methods of Admin
//!        └───────┬───────┘
//!  call: split by broker, try again, put together
//!  route: which broker        answers: in the order asked
//!  core: the machine over base and network
//! ```
//!
//! To add a call: an [`Operation`](call::Operation) and a method of [`Admin`], in the module of its
//! family or a new one beside it.

mod acls;
mod answers;
mod call;
mod cluster;
mod configs;
mod core;
mod creation;
mod group_offsets;
mod groups;
mod log_dirs;
mod offsets;
mod route;
mod scram;
#[cfg(test)]
mod tests;
mod topics;
mod transactions;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_types::Clock;

pub use acls::{
    Acl, AclFilter, AclOperation, AclPermission, AclResourceKind, PatternKind, ResourcePattern,
};
pub use cluster::{Broker, Cluster};
pub use configs::{ConfigChange, ConfigEntries, ConfigEntry, ConfigResource, ConfigSource};
pub use creation::NewTopic;
pub use groups::{GroupDescription, GroupListing, GroupMember};
pub use log_dirs::{LogDir, ReplicaSize};
pub use offsets::{FoundOffset, OffsetSpec};
pub use scram::{ScramChange, ScramCredential, ScramMechanism};
pub use topics::{PartitionDescription, TopicDescription};
pub use transactions::{
    ActiveProducer, FencedProducer, OpenTransaction, TransactionDescription, TransactionListing,
};

use self::call::{Deadline, Operation, Outcome};
use self::core::AdminCore;
use crate::auth::{self, OAuthToken};
use crate::base::Machine;
use crate::driver::{self, Driven, Signal, SystemRandom, Wake};
use crate::error::Error;
use crate::random::Random;
use crate::settings::ConnectionSettings;

/// How much later than its deadline a call stops to believe in its driver.
const GRACE: Duration = Duration::from_secs(2);

/// Whose response it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdminTag {
    call: u64,
    request: u32,
}

/// How a blocking call waits. A simulator brings its own, which makes the world go on meanwhile.
pub trait Await: Wake {
    /// Waits until [`Wake::wake`] or for that long by the client's clock.
    fn wait(&self, timeout: Duration);
}

impl Await for Signal {
    fn wait(&self, timeout: Duration) {
        Self::wait(self, timeout);
    }
}

/// Manages a cluster. Used from one thread at a time; dropping it ends its own thread.
pub struct Admin {
    driven: Driven<AdminCore>,
    awaits: Arc<dyn Await>,
    tokens: Option<TokenSource>,
}

/// Makes an OAuth token, or says why there is none.
pub type TokenSource = Box<dyn FnMut() -> Result<OAuthToken, String> + Send>;

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    /// An admin client on real sockets. Does not wait for a connection, nor opens one before the
    /// first call.
    ///
    /// # Errors
    /// [`Error::Setting`] if a setting is refused or the operating system has no thread to give.
    pub fn start(settings: &ConnectionSettings) -> Result<Self, Error> {
        let signal = Arc::new(Signal::default());
        let core = AdminCore::new(
            settings,
            auth::authenticator(settings),
            Box::new(SystemRandom::default()),
            signal.clone(),
        );
        let driven =
            Driven::start(core, settings, "millstream-admin").map_err(driver::start_error)?;
        Ok(Self { driven, awaits: signal, tokens: None })
    }

    /// An admin client that somebody else drives, through [`machine`](Self::machine), by `clock`.
    /// A call waits by `awaits`, which has to make the driver take its steps.
    ///
    /// # Errors
    /// [`Error::Setting`] if a setting is refused.
    pub fn by_hand(
        settings: &ConnectionSettings,
        clock: Arc<dyn Clock>,
        random: Box<dyn Random>,
        awaits: Arc<dyn Await>,
    ) -> Result<Self, Error> {
        let waker = Arc::new(Awaiting(awaits.clone()));
        let core = AdminCore::new(settings, auth::authenticator(settings), random, waker);
        Ok(Self { driven: Driven::by_hand(core, clock), awaits, tokens: None })
    }

    /// Where OAuth tokens come from. Called on the thread that makes a call, when a connection
    /// needs one; without it a connection that needs a token is refused.
    pub fn set_token_source(&mut self, tokens: TokenSource) {
        self.tokens = Some(tokens);
    }

    /// Fetches a token if a connection needs one.
    fn serve_tokens(&mut self) {
        if !self.driven.lock().take_token_needed() {
            return;
        }
        let Some(tokens) = &mut self.tokens else { return };
        let now = self.driven.now();
        let done = match tokens() {
            Ok(token) => self.driven.lock().set_token(token, now),
            Err(text) => Err(Error::kafka("fetch a token", auth::no_token(&text))),
        };
        // The call that waits for the connection fails by its own deadline.
        if let Err(error) = done {
            tracing::warn!(target: "millstream::kafka", "{error}");
        }
        self.driven.wake();
    }

    /// The machine, for who drives it.
    pub fn machine(&self) -> Arc<Mutex<dyn Machine>> {
        self.driven.share()
    }

    /// The deadline of a call that begins now.
    fn within(&self, timeout: Duration) -> Deadline {
        Deadline { at: self.driven.now().after(timeout), timeout }
    }

    /// Makes a call and waits for its outcome.
    fn call<O: Operation>(
        &mut self,
        operation: O,
        items: Vec<O::Item>,
        deadline: Deadline,
    ) -> Outcome<O::Answer> {
        let Some(first) = items.first() else { return Ok(Vec::new()) };
        let action = operation.action(first);
        let (id, slot) = self.driven.lock().begin(operation, items, deadline);
        self.driven.wake();
        loop {
            if let Some(outcome) = slot.take() {
                return outcome;
            }
            let left = (deadline.at + GRACE).saturating_sub(self.driven.now().mono);
            if left.is_zero() {
                self.driven.lock().abandon(id);
                return Err(Error::TimedOut { action, after: deadline.timeout });
            }
            self.serve_tokens();
            self.awaits.wait(left);
        }
    }

    /// The same about one thing.
    fn call_one<O: Operation>(
        &mut self,
        operation: O,
        item: O::Item,
        deadline: Deadline,
    ) -> Result<O::Answer, Error> {
        self.call(operation, vec![item], deadline)?.pop().expect("one answer per item")
    }

    /// Lets some time pass, or all that is left.
    fn pause(&self, length: Duration, deadline: Deadline) {
        let end = self.driven.now().after(length).min(deadline.at);
        loop {
            let left = end.saturating_sub(self.driven.now().mono);
            if left.is_zero() {
                return;
            }
            self.awaits.wait(left);
        }
    }
}

/// An [`Await`] as who is woken.
struct Awaiting(Arc<dyn Await>);

impl Wake for Awaiting {
    fn wake(&self) {
        self.0.wake();
    }
}
