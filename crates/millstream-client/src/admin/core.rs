//! The admin client without sockets: calls under way over one set of connections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::AdminTag;
use super::call::{Call, Deadline, Operation, Running, Slot};
use crate::auth::{self, Authenticator, OAuthToken};
use crate::base::{Base, Machine};
use crate::coordinators::CoordinatorKey;
use crate::driver::Wake;
use crate::error::Error;
use crate::network::{Action, Input};
use crate::random::Random;
use crate::settings::ConnectionSettings;
use crate::tag::Tag;
use crate::time::{Now, earlier};

/// The admin client's machine. While no call is under way it asks nobody anything.
pub(crate) struct AdminCore {
    base: Base,
    calls: BTreeMap<u64, Box<dyn Call>>,
    next_call: u64,
    waker: Arc<dyn Wake>,
    /// Whether there is something new for the front end.
    news: bool,
}

impl AdminCore {
    /// `waker` is woken when a call is over.
    pub(crate) fn new(
        settings: &ConnectionSettings,
        authenticator: Option<Box<dyn Authenticator>>,
        random: Box<dyn Random>,
        waker: Arc<dyn Wake>,
    ) -> Self {
        // Asking about a topic must never make it.
        let settings = ConnectionSettings { allow_auto_create_topics: false, ..settings.clone() };
        Self {
            base: Base::new(Arc::new(settings), authenticator, random),
            calls: BTreeMap::new(),
            next_call: 0,
            waker,
            news: false,
        }
    }

    /// Begins a call about `items`, which is not empty.
    pub(super) fn begin<O: Operation>(
        &mut self,
        operation: O,
        items: Vec<O::Item>,
        deadline: Deadline,
    ) -> (u64, Slot<O::Answer>) {
        let backoff = (self.base.settings.retry_backoff, self.base.settings.retry_backoff_max);
        let (call, slot) = Running::new(operation, items, deadline, backoff);
        let mut keys = Vec::new();
        call.coordinators(&mut keys);
        for key in &keys {
            // What an earlier call was refused is no answer to this one.
            self.base.coordinators.take_refusal(key);
        }
        let id = self.next_call;
        self.next_call += 1;
        self.calls.insert(id, Box::new(call));
        self.want_topics();
        (id, slot)
    }

    /// Whether a connection needs an OAuth token that was not asked for yet.
    pub(super) fn take_token_needed(&mut self) -> bool {
        self.base.net.take_token_needed()
    }

    /// Hands a new token to who makes the SASL exchanges.
    pub(super) fn set_token(&mut self, token: OAuthToken, now: Now) -> Result<(), Error> {
        auth::set_token(&mut self.base.net, token, now)
    }

    /// Forgets a call that nobody waits for any more.
    pub(super) fn abandon(&mut self, id: u64) {
        if let Some(call) = self.calls.remove(&id) {
            self.let_go(&*call);
        }
    }

    fn let_go(&mut self, call: &dyn Call) {
        let mut keys: Vec<CoordinatorKey> = Vec::new();
        call.coordinators(&mut keys);
        for key in &keys {
            self.base.coordinators.stop_looking(key);
        }
        self.want_topics();
    }

    fn want_topics(&mut self) {
        let mut topics = BTreeSet::new();
        for call in self.calls.values() {
            call.topics(&mut topics);
        }
        self.base.metadata.want_exactly(topics, false);
    }
}

impl Machine for AdminCore {
    fn input(&mut self, input: Input, now: Now) {
        self.base.net.input(input, now);
    }

    fn advance(&mut self, now: Now) {
        self.base.begin(now);
        while let Some(completion) = self.base.completion(now) {
            let Tag::Admin(AdminTag { call, request }) = completion.tag else { continue };
            if let Some(call) = self.calls.get_mut(&call) {
                call.completed(request, completion, &mut self.base, now);
            }
        }
        for (id, call) in &mut self.calls {
            call.advance(*id, &mut self.base, now);
        }
        let over: Vec<u64> =
            self.calls.iter().filter(|(_, call)| call.is_over()).map(|(id, _)| *id).collect();
        for id in &over {
            self.abandon(*id);
        }
        self.news |= !over.is_empty() || self.base.net.is_token_needed();
        if !self.calls.is_empty() {
            self.base.finish(now);
        }
    }

    fn take_wake(&mut self) -> Option<Arc<dyn Wake>> {
        std::mem::take(&mut self.news).then(|| self.waker.clone())
    }

    fn action(&mut self) -> Option<Action> {
        self.base.net.action()
    }

    fn next_deadline(&self, now: Now) -> Option<Duration> {
        if self.calls.is_empty() {
            return self.base.net.next_deadline(now);
        }
        self.calls
            .values()
            .map(|call| call.next_deadline(now))
            .fold(self.base.next_deadline(now), earlier)
    }
}
