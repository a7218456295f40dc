//! One call: its items, each on its way to the broker that can answer it, until all are answered
//! or time is up.
//!
//! A call about several things is split by broker and put together again: whatever brokers
//! answered, in whatever order, the caller sees one answer per item in the order asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka_protocol::protocol::Request;

use super::AdminTag;
use super::route::{Leads, Route, Search};
use crate::base::Base;
use crate::coordinators::CoordinatorKey;
use crate::error::{Error, KafkaError, code};
use crate::network::{Completion, Failure, Health, Network, NodeId};
use crate::random::Backoff;
use crate::settings::SaslSettings;
use crate::tag::Tag;
use crate::time::{Now, earlier};
use crate::wire::Checked;

/// How long a broker that is known may take to become ready before it is looked for anew.
const DOUBT_AFTER: Duration = Duration::from_millis(500);

/// A response read: the items' answers in the order of the request, or an error for all of them.
pub(crate) type Answers<T> = Result<Vec<Result<T, KafkaError>>, KafkaError>;

/// What a caller gets: an answer per item in the order asked, or an error for the whole.
pub(crate) type Outcome<T> = Result<Vec<Result<T, Error>>, Error>;

/// What is known about a response beside what it says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    /// Its version, which is the request's.
    pub(crate) version: i16,
    /// The broker that answered, by whichever connection.
    pub(crate) node: NodeId,
}

/// A request of the protocol as the admin client uses it. One implementation per request.
pub(crate) trait Operation: Send + 'static {
    /// The request.
    type Request: Checked;
    /// One of the things that are asked about.
    type Item: Send + 'static;
    /// The answer about one.
    type Answer: Send + 'static;

    /// Lowest and highest version that is understood here.
    const VERSIONS: (i16, i16);
    /// Whether one request can carry several items.
    const MANY: bool = true;

    /// The lowest version that can express `item`.
    fn needs(&self, _item: &Self::Item) -> i16 {
        Self::VERSIONS.0
    }

    /// Which broker can answer.
    fn route(&self, item: &Self::Item) -> Route;

    /// What is tried, for error messages, such as `create topic "orders"`.
    fn action(&self, item: &Self::Item) -> String;

    /// The request about these items. `limit_ms` is how long the broker may take, for requests
    /// that say so.
    fn request(&self, items: &[&Self::Item], version: i16, limit_ms: i32) -> Self::Request;

    /// `throttle_time_ms` of the response.
    fn throttle_ms(response: &<Self::Request as Request>::Response) -> i32;

    /// Reads the response to a request about these items. As many answers as items.
    fn answers(
        &self,
        items: &[&Self::Item],
        response: <Self::Request as Request>::Response,
        reply: Reply,
    ) -> Answers<Self::Answer>;
}

/// Until when a call may take, and how long that is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Duration,
    pub(crate) timeout: Duration,
}

impl Deadline {
    pub(crate) fn left(self, now: Now) -> Duration {
        self.at.saturating_sub(now.mono)
    }
}

/// A call under way, whatever it is about.
pub(super) trait Call: Send {
    /// Sends what can be sent.
    fn advance(&mut self, id: u64, base: &mut Base, now: Now);
    /// A request of this call has ended.
    fn completed(&mut self, request: u32, completion: Completion, base: &mut Base, now: Now);
    /// Whether the outcome is there.
    fn is_over(&self) -> bool;
    /// When [`advance`](Self::advance) has something to do at the latest.
    fn next_deadline(&self, now: Now) -> Option<Duration>;
    /// The topics whose leaders it looks for.
    fn topics(&self, topics: &mut BTreeSet<Arc<str>>);
    /// The coordinators that it looks for.
    fn coordinators(&self, keys: &mut Vec<CoordinatorKey>);
}

/// Where an outcome is left for the caller.
#[derive(Debug)]
pub(super) struct Slot<T>(Arc<Mutex<Option<Outcome<T>>>>);

impl<T> Slot<T> {
    pub(super) fn take(&self) -> Option<Outcome<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, outcome: Outcome<T>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }
}

enum State<T> {
    Open,
    Out,
    Done(Result<T, KafkaError>),
}

struct Item<O: Operation> {
    asked: O::Item,
    route: Route,
    state: State<O::Answer>,
    search: Search,
    backoff: Backoff,
    retry_at: Duration,
    /// When the broker is looked for anew, if it has not become ready by then.
    doubt_at: Option<Duration>,
    /// Why the last try was not the last one.
    last: Option<KafkaError>,
}

/// A call under way.
pub(super) struct Running<O: Operation> {
    operation: O,
    items: Vec<Item<O>>,
    out: BTreeMap<u32, Vec<usize>>,
    next_request: u32,
    deadline: Deadline,
    slot: Slot<O::Answer>,
    over: bool,
}

impl<O: Operation> Running<O> {
    /// A call about `items`, which is not empty, and where its outcome will be.
    pub(super) fn new(
        operation: O,
        items: Vec<O::Item>,
        deadline: Deadline,
        backoff: (Duration, Duration),
    ) -> (Self, Slot<O::Answer>) {
        let slot = Slot(Arc::default());
        let items = items
            .into_iter()
            .map(|asked| Item {
                route: operation.route(&asked),
                asked,
                state: State::Open,
                search: Search::default(),
                backoff: Backoff::new(backoff.0, backoff.1),
                retry_at: Duration::ZERO,
                doubt_at: None,
                last: None,
            })
            .collect();
        let running = Self {
            operation,
            items,
            out: BTreeMap::new(),
            next_request: 0,
            deadline,
            slot: Slot(slot.0.clone()),
            over: false,
        };
        (running, slot)
    }

    fn send(&mut self, id: u64, node: NodeId, items: Vec<usize>, base: &mut Base, now: Now) {
        let Some(version) = base.net.version::<O::Request>(node, O::VERSIONS) else {
            for item in items {
                self.items[item].state = State::Done(Err(too_old()));
            }
            return;
        };
        let (able, unable): (Vec<usize>, Vec<usize>) = items
            .into_iter()
            .partition(|item| self.operation.needs(&self.items[*item].asked) <= version);
        for item in unable {
            self.items[item].state = State::Done(Err(too_old()));
        }
        let chunk = if O::MANY { able.len().max(1) } else { 1 };
        for items in able.chunks(chunk) {
            let left = self.deadline.left(now).min(base.settings.request_timeout);
            // A tenth less than there is, so that the broker's "not done in time" can arrive.
            let limit_ms = i32::try_from((left * 9 / 10).as_millis()).unwrap_or(i32::MAX);
            let asked: Vec<&O::Item> = items.iter().map(|item| &self.items[*item].asked).collect();
            let request = self.operation.request(&asked, version, limit_ms);
            let tag = AdminTag { call: id, request: self.next_request };
            let timeout = base.settings.request_timeout;
            base.net.send(node, &request, version, timeout, Tag::Admin(tag), now);
            for item in items {
                self.items[*item].state = State::Out;
            }
            self.out.insert(self.next_request, items.to_vec());
            self.next_request += 1;
        }
    }

    /// Takes an answer about one item: it is done, or will be tried again.
    fn settle(
        &mut self,
        item: usize,
        answer: Result<O::Answer, KafkaError>,
        base: &mut Base,
        now: Now,
    ) {
        let item = &mut self.items[item];
        match answer {
            Err(error) if item.route.tries_again(error.code) => {
                item.state = State::Open;
                item.retry_at = now.after(item.backoff.failed(base.net.random()));
                if item.route.leads_wrong(error.code) {
                    item.route.doubt(base);
                    item.search.after_round =
                        item.route.by_metadata().then(|| base.metadata.rounds());
                }
                item.last = Some(error);
            }
            answer => item.state = State::Done(answer),
        }
    }

    fn whole(&self) -> String {
        let first = self.operation.action(&self.items[0].asked);
        match self.items.len() {
            1 => first,
            count => format!("{first} and {} more", count - 1),
        }
    }

    fn end(&mut self, outcome: Outcome<O::Answer>) {
        self.over = true;
        self.slot.put(outcome);
    }

    /// Ends the call if every item is answered.
    fn end_if_done(&mut self) {
        if !self.over && self.items.iter().all(|item| matches!(item.state, State::Done(_))) {
            self.give(None);
        }
    }

    /// Gives the answers out; an item without one was not answered in time.
    fn give(&mut self, trouble: Option<&str>) {
        let (operation, after) = (&self.operation, self.deadline.timeout);
        let answers = self
            .items
            .iter_mut()
            .map(|item| {
                let action = operation.action(&item.asked);
                match std::mem::replace(&mut item.state, State::Open) {
                    State::Done(answer) => answer.map_err(|error| Error::kafka(action, error)),
                    State::Open | State::Out => {
                        Err(timed_out(action, item.last.as_ref(), trouble, after))
                    }
                }
            })
            .collect();
        self.end(Ok(answers));
    }

    /// Time is up: says what was tried, and what became of it as far as it is known.
    fn give_up(&mut self, base: &Base, now: Now) {
        let trouble = match base.health(now) {
            Health::Down(failure) => Some(failure.to_string()),
            _ => None,
        };
        if self.items.iter().any(|item| matches!(item.state, State::Done(_))) {
            self.give(trouble.as_deref());
        } else {
            let last = self.items.iter().find_map(|item| item.last.as_ref());
            let after = self.deadline.timeout;
            let error = timed_out(self.whole(), last, trouble.as_deref(), after);
            self.end(Err(error));
        }
    }
}

impl<O: Operation> Call for Running<O> {
    fn advance(&mut self, id: u64, base: &mut Base, now: Now) {
        if self.over {
            return;
        }
        if self.deadline.at <= now.mono {
            self.give_up(base, now);
            return;
        }
        // No waiting mends a wrong password. A missing token may come yet.
        let may_come = matches!(base.settings.sasl, Some(SaslSettings::OAuthBearer { .. }));
        if !may_come
            && self.out.is_empty()
            && let Health::Down(failure @ Failure::Authentication(_)) = base.health(now)
        {
            let error = Error::kafka(self.whole(), failure.into());
            self.end(Err(error));
            return;
        }
        let mut by_node: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        for (index, item) in self.items.iter_mut().enumerate() {
            if !matches!(item.state, State::Open) || item.retry_at > now.mono {
                continue;
            }
            match item.route.find(&mut item.search, base, now) {
                Leads::To(node) => {
                    item.doubt_at = None;
                    by_node.entry(node).or_default().push(index);
                }
                Leads::NotYet => {
                    let doubt_at = *item.doubt_at.get_or_insert(now.after(DOUBT_AFTER));
                    if doubt_at <= now.mono {
                        item.route.doubt(base);
                        item.doubt_at = Some(now.after(DOUBT_AFTER));
                    }
                }
                Leads::Never(error) => item.state = State::Done(Err(error)),
            }
        }
        for (node, items) in by_node {
            self.send(id, node, items, base, now);
        }
        self.end_if_done();
    }

    fn completed(&mut self, request: u32, completion: Completion, base: &mut Base, now: Now) {
        let Some(items) = self.out.remove(&request) else { return };
        let node = completion.node;
        let answers = completion.result.map_err(KafkaError::from).and_then(|body| {
            let reply = Reply { version: body.version(), node: Network::broker_of(node) };
            let response = body
                .decode_from::<O::Request>(node, &mut base.net, now)
                .map_err(KafkaError::from)?;
            base.net.throttle(node, O::throttle_ms(&response), now);
            let asked: Vec<&O::Item> = items.iter().map(|item| &self.items[*item].asked).collect();
            self.operation.answers(&asked, response, reply)
        });
        match answers {
            Ok(answers) => {
                debug_assert_eq!(answers.len(), items.len(), "one answer per item");
                for (item, answer) in items.into_iter().zip(answers) {
                    self.settle(item, answer, base, now);
                }
            }
            Err(error) => {
                for item in items {
                    self.settle(item, Err(error.clone()), base, now);
                }
            }
        }
        self.end_if_done();
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn next_deadline(&self, now: Now) -> Option<Duration> {
        self.items
            .iter()
            .filter(|item| matches!(item.state, State::Open))
            .flat_map(|item| {
                let retry = (item.retry_at > now.mono).then_some(item.retry_at);
                [retry, item.doubt_at.filter(|at| *at > now.mono)]
            })
            .fold(Some(self.deadline.at), earlier)
    }

    fn topics(&self, topics: &mut BTreeSet<Arc<str>>) {
        topics.extend(self.items.iter().filter_map(|item| match &item.route {
            Route::Leader(partition) => Some(partition.topic.clone()),
            _ => None,
        }));
    }

    fn coordinators(&self, keys: &mut Vec<CoordinatorKey>) {
        keys.extend(self.items.iter().filter_map(|item| match &item.route {
            Route::Coordinator(key) => Some(key.clone()),
            _ => None,
        }));
    }
}

fn timed_out(
    action: String,
    last: Option<&KafkaError>,
    trouble: Option<&str>,
    after: Duration,
) -> Error {
    let why = last.map(ToString::to_string).or_else(|| trouble.map(str::to_owned));
    let action = match why {
        Some(why) => format!("{action} (last: {why})"),
        None => action,
    };
    Error::TimedOut { action, after }
}

fn too_old() -> KafkaError {
    KafkaError::with(
        code::UNSUPPORTED_FEATURE,
        Some("the broker is too old: it has no version of this request that can say so"),
    )
}
