//! All connections of one client, without sockets: which node is ready, what is out, what came
//! back. A driver carries out the [`Action`]s and reports [`Input`]s.
//!
//! ```text
//!  machines ── ready? send(request, tag) ──► Network ── Action ──► driver ──► broker
//!           ◄──────── Completion(tag) ─────          ◄─ Input ───
//! ```
//!
//! A request goes only to a node that is [`Network::ready`]; asking opens the connection. What is
//! out when a connection ends comes back as a failed [`Completion`], in order, so that nobody
//! waits for ever.

mod connection;
#[cfg(test)]
mod tests;
mod versions;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::protocol::{Request, StrBytes};

use self::connection::{Arrived, Broken, Connection};
use crate::auth::{Authenticator, NoToken, NotYet, OAuthToken};
use crate::random::{Backoff, Random};
use crate::settings::{ConnectionSettings, SaslSettings};
use crate::statistics::{BrokerState, Brokers, Traffic};
use crate::tag::Tag;
use crate::time::{Now, earlier};
use crate::wire::{Body, Checked, Malformed};

/// A broker's id; those that are known by their address only (`bootstrap.servers`) are negative.
pub(crate) type NodeId = i32;

/// From here on ids name further connections to brokers: the line, then the broker's id in the
/// bits below. A broker whose own id does not fit there is not talked to; nobody numbers so high.
const LINE_BITS: u32 = 28;
const LINES: NodeId = 1 << LINE_BITS;

/// What a further connection to a broker is for. Brokers answer the requests of one connection in
/// their order, so what may be held back must not stand before what may not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// What is for a coordinator: it must not wait behind a fetch.
    Coordinator = 1,
    /// What is for a coordinator while it holds a JoinGroup back on the first line, until all
    /// members have joined.
    Aside = 2,
}

/// Names a connection for the driver. Never used twice by one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What the driver has to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Connect to any address of this name, TLS included, and report [`Input::Connected`].
    Connect {
        /// Names the connection from here on.
        connection: ConnectionId,
        /// Name or address.
        host: Arc<str>,
        /// Port.
        port: u16,
    },
    /// Send these bytes, in order.
    Send {
        /// Where.
        connection: ConnectionId,
        /// What.
        bytes: Bytes,
    },
    /// Close, without a report.
    Close {
        /// Which.
        connection: ConnectionId,
    },
    /// Fetch a token from the endpoint of [`SaslSettings::ClientCredentials`], and report
    /// [`Input::Token`]. One at a time is asked for.
    FetchToken,
}

/// What the driver reports.
#[derive(Clone, Debug)]
pub enum Input {
    /// [`Action::Connect`] has succeeded.
    Connected {
        /// Which.
        connection: ConnectionId,
    },
    /// A whole frame has arrived.
    Frame {
        /// Where.
        connection: ConnectionId,
        /// The frame without its length.
        frame: Bytes,
    },
    /// Connecting has failed, or the connection has ended.
    Closed {
        /// Which.
        connection: ConnectionId,
        /// Why, for the user; holds no secret.
        reason: String,
        /// Whether TLS was refused, which no waiting mends.
        tls: bool,
    },
    /// What came of [`Action::FetchToken`].
    Token(Result<OAuthToken, NoToken>),
}

/// Why a request has no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The connection has ended; the broker may or may not have done what was asked.
    #[error("{0}")]
    Disconnected(String),
    /// No response in time; the connection was closed.
    #[error("no response in time")]
    TimedOut,
    /// SASL or TLS was refused.
    #[error("{0}")]
    Authentication(String),
    /// SASL needs an OAuth token, which was asked for and has not come yet.
    #[error("there is no valid OAuth token yet")]
    NoToken,
}

/// The end of a request.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) node: NodeId,
    pub(crate) tag: Tag,
    pub(crate) result: Result<Body, Failure>,
}

/// Whether brokers can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Health {
    /// Not known yet, or one is being tried.
    #[default]
    Unknown,
    /// At least one connection is ready.
    Up,
    /// Every known broker was tried since the last one was up, and failed.
    Down(Failure),
}

impl Line {
    fn of(self, node: NodeId) -> NodeId {
        (self as NodeId) << LINE_BITS | node
    }
}

struct Node {
    host: Arc<str>,
    port: u16,
    connection: Option<ConnectionId>,
    backoff: Backoff,
    retry_at: Duration,
    failure: Option<Failure>,
}

pub(crate) struct Network {
    settings: Arc<ConnectionSettings>,
    authenticator: Option<Box<dyn Authenticator>>,
    random: Box<dyn Random>,
    client_id: StrBytes,
    nodes: BTreeMap<NodeId, Node>,
    connections: BTreeMap<ConnectionId, Connection>,
    next_connection: u64,
    actions: VecDeque<Action>,
    completions: VecDeque<Completion>,
    token_needed: bool,
    /// Whether the driver fetches a token.
    fetching: bool,
    /// Why the last token could not be fetched.
    no_token: Option<Failure>,
    /// Whether a connection has failed since the last [`take_failed`](Self::take_failed).
    failed: bool,
    /// By broker, what went over connections that have ended.
    traffic: BTreeMap<NodeId, Traffic>,
}

impl Network {
    /// Knows the bootstrap addresses; connects to nobody yet.
    pub(crate) fn new(
        settings: Arc<ConnectionSettings>,
        authenticator: Option<Box<dyn Authenticator>>,
        random: Box<dyn Random>,
    ) -> Self {
        let client_id = StrBytes::from_string(settings.client_id.clone());
        let mut network = Self {
            settings,
            authenticator,
            random,
            client_id,
            nodes: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            actions: VecDeque::new(),
            completions: VecDeque::new(),
            token_needed: false,
            fetching: false,
            no_token: None,
            failed: false,
            traffic: BTreeMap::new(),
        };
        for (index, (host, port)) in network.settings.clone().bootstrap.iter().enumerate() {
            network.add_node(-1 - index as NodeId, host, *port);
        }
        network
    }

    pub(crate) fn random(&mut self) -> &mut dyn Random {
        &mut *self.random
    }

    fn add_node(&mut self, id: NodeId, host: &str, port: u16) {
        let backoff =
            Backoff::new(self.settings.reconnect_backoff, self.settings.reconnect_backoff_max);
        self.nodes.insert(
            id,
            Node {
                host: host.into(),
                port,
                connection: None,
                backoff,
                retry_at: Duration::ZERO,
                failure: None,
            },
        );
    }

    /// Replaces the known brokers. Those that are gone or have moved lose their connection; the
    /// bootstrap addresses stay, as the way back when all the others are gone (KIP-899, KIP-1102).
    pub(crate) fn set_nodes(&mut self, brokers: &[(NodeId, String, u16)]) {
        // Other numbers are ours.
        let brokers: Vec<_> = brokers.iter().filter(|(id, ..)| (0..LINES).contains(id)).collect();
        let gone: Vec<NodeId> = self
            .nodes
            .iter()
            .filter(|(id, node)| {
                (0..LINES).contains(*id)
                    && !brokers.iter().any(|(other, host, port)| {
                        other == *id && **host == *node.host && *port == node.port
                    })
            })
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.drop_node(id);
        }
        for (id, host, port) in &brokers {
            if !self.nodes.contains_key(id) {
                self.add_node(*id, host, *port);
            }
        }
        // From here on the brokers are talked to under their own ids.
        if !brokers.is_empty() {
            let idle: Vec<ConnectionId> = self
                .connections
                .iter()
                .filter(|(_, connection)| connection.node < 0 && connection.in_flight() == 0)
                .map(|(id, _)| *id)
                .collect();
            for id in idle {
                self.end(id, None, Now::default());
            }
        }
    }

    fn drop_node(&mut self, id: NodeId) {
        if let Some(connection) = self.nodes.get(&id).and_then(|node| node.connection) {
            let moved = Failure::Disconnected("the broker has left the cluster".into());
            let failed = self.failed;
            self.end(connection, Some(moved), Now::default());
            // Who says so is who knows.
            self.failed = failed;
        }
        self.nodes.remove(&id);
        if (0..LINES).contains(&id) {
            for line in [Line::Coordinator, Line::Aside] {
                self.drop_node(line.of(id));
            }
        }
    }

    /// Adds or moves one broker (new leaders named in error responses, KIP-951).
    pub(crate) fn learn_node(&mut self, id: NodeId, host: &str, port: u16) {
        match self.nodes.get(&id) {
            // Other numbers are ours.
            _ if !(0..LINES).contains(&id) => {}
            Some(node) if *node.host == *host && node.port == port => {}
            _ => {
                self.drop_node(id);
                self.add_node(id, host, port);
            }
        }
    }

    /// A further connection to a broker; opened when it is first asked for.
    pub(crate) fn line(&mut self, node: NodeId, line: Line) -> NodeId {
        let Some(known) = self.nodes.get(&node).filter(|_| (0..LINES).contains(&node)) else {
            return node;
        };
        let (host, port) = (known.host.clone(), known.port);
        let id = line.of(node);
        if !self.nodes.contains_key(&id) {
            self.add_node(id, &host, port);
        }
        id
    }

    /// The broker behind a connection, which may be a further [`line`](Self::line) to it.
    pub(crate) fn broker_of(node: NodeId) -> NodeId {
        if node >= LINES { node & (LINES - 1) } else { node }
    }

    /// Whether `node` is a broker that connections can be made to.
    pub(crate) fn knows(&self, node: NodeId) -> bool {
        self.nodes.contains_key(&node)
    }

    /// Whether `node` is gone, or the last attempt to connect has failed and the next may not be
    /// made yet.
    pub(crate) fn is_unreachable(&self, node: NodeId, now: Now) -> bool {
        self.nodes
            .get(&node)
            .is_none_or(|node| node.connection.is_none() && node.retry_at > now.mono)
    }

    /// Whether a request can be sent to `node` now. If there is no connection, opens one, unless
    /// the last attempt is too recent.
    pub(crate) fn ready(&mut self, node: NodeId, now: Now) -> bool {
        match self.connection(node) {
            Some(connection) => connection.is_ready(now),
            None => {
                self.connect(node, now);
                false
            }
        }
    }

    fn connection(&self, node: NodeId) -> Option<&Connection> {
        self.connections.get(&self.nodes.get(&node)?.connection?)
    }

    fn connection_mut(&mut self, node: NodeId) -> Option<&mut Connection> {
        self.connections.get_mut(&self.nodes.get(&node)?.connection?)
    }

    fn connect(&mut self, id: NodeId, now: Now) -> bool {
        let Some(node) = self.nodes.get_mut(&id) else { return false };
        if node.connection.is_some() || node.retry_at > now.mono {
            return false;
        }
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        node.connection = Some(connection);
        self.actions.push_back(Action::Connect {
            connection,
            host: node.host.clone(),
            port: node.port,
        });
        let state = Connection::new(
            id,
            self.client_id.clone(),
            self.authenticator.is_some(),
            self.settings.connection_setup_timeout,
            self.settings.statistics_interval.is_some(),
            now,
        );
        self.connections.insert(connection, state);
        self.traffic_of(id).connects += 1;
        true
    }

    /// The ready node with the least out, for what any broker can answer. If none is ready, one
    /// is being connected to, and asking again later is worth it.
    pub(crate) fn least_loaded(&mut self, now: Now) -> Option<NodeId> {
        let ready = self
            .connections
            .values()
            .filter(|connection| connection.node < LINES && connection.is_ready(now))
            .min_by_key(|connection| (connection.node < 0, connection.in_flight()));
        if let Some(connection) = ready {
            return Some(connection.node);
        }
        let first_lines = self.connections.values().filter(|connection| connection.node < LINES);
        if first_lines.into_iter().any(|connection| match connection.patience_until() {
            // Another one is tried beside a broker that keeps us waiting.
            Some(until) => now.mono < until,
            None => connection.in_flight() > 0,
        }) {
            return None;
        }
        let candidates = |known: bool, nodes: &BTreeMap<NodeId, Node>| {
            nodes
                .iter()
                .filter(|(id, node)| {
                    **id < LINES
                        && (**id >= 0) == known
                        && node.connection.is_none()
                        && node.retry_at <= now.mono
                })
                .map(|(id, _)| *id)
                .collect::<Vec<_>>()
        };
        let mut choice = candidates(true, &self.nodes);
        if choice.is_empty() {
            choice = candidates(false, &self.nodes);
        }
        if !choice.is_empty() {
            let index = self.random.below(choice.len() as u64) as usize;
            self.connect(choice[index], now);
        }
        None
    }

    /// The highest version of request `R` within `ours` that `node` takes; `None` if the node is
    /// not connected or knows none of them.
    pub(crate) fn version<R: Checked>(&self, node: NodeId, ours: (i16, i16)) -> Option<i16> {
        self.connection(node)?.versions.pick::<R>(ours)
    }

    /// The level of a cluster-wide feature as `node` told it; 0 if unknown.
    pub(crate) fn feature(&self, node: NodeId, name: &str) -> i16 {
        self.connection(node).map_or(0, |connection| connection.versions.feature(name))
    }

    /// Sends a request to a node that is ready; its end comes as a [`Completion`] with `tag`.
    ///
    /// # Panics
    /// If the request has a field set that `version` does not have (a bug).
    pub(crate) fn send<R: Request>(
        &mut self,
        node: NodeId,
        request: &R,
        version: i16,
        timeout: Duration,
        tag: Tag,
        now: Now,
    ) {
        match self.connection_mut(node) {
            Some(connection) => {
                if let Err(error) = connection.send(request, version, timeout, Some(tag), now) {
                    panic!("request {} in version {version}: {error}", R::KEY);
                }
                self.collect(node);
            }
            None => self.completions.push_back(Completion {
                node,
                tag,
                result: Err(Failure::Disconnected("not connected".into())),
            }),
        }
    }

    /// Sends a request that is never answered (`acks=0`). Whether it could be sent.
    pub(crate) fn send_unanswered<R: Request>(
        &mut self,
        node: NodeId,
        request: &R,
        version: i16,
        now: Now,
    ) -> bool {
        let Some(connection) = self.connection_mut(node) else { return false };
        if let Err(error) = connection.send(request, version, Duration::ZERO, None, now) {
            panic!("request {} in version {version}: {error}", R::KEY);
        }
        self.collect(node);
        true
    }

    fn collect(&mut self, node: NodeId) {
        let Some(id) = self.nodes.get(&node).and_then(|node| node.connection) else { return };
        if let Some(connection) = self.connections.get_mut(&id) {
            let out = connection.out.drain(..);
            self.actions.extend(out.map(|bytes| Action::Send { connection: id, bytes }));
        }
    }

    /// Sends nothing to `node` for that long (`throttle_time_ms`, KIP-219).
    pub(crate) fn throttle(&mut self, node: NodeId, throttle_time_ms: i32, now: Now) {
        if let (Ok(ms @ 1..), Some(connection)) =
            (u64::try_from(throttle_time_ms), self.connection_mut(node))
        {
            let until = now.after(Duration::from_millis(ms));
            if let Some(traffic) = &mut connection.traffic {
                traffic.throttle.add(ms);
            }
            connection.throttled_until = connection.throttled_until.max(until);
        }
    }

    /// Closes the connection to `node`, such as after a response that made no sense.
    pub(crate) fn disconnect(&mut self, node: NodeId, why: &str, now: Now) {
        if let Some(connection) = self.nodes.get(&node).and_then(|node| node.connection) {
            self.actions.push_back(Action::Close { connection });
            self.closed(connection, Failure::Disconnected(why.to_owned()), now);
        }
    }

    /// The next request that has ended.
    pub(crate) fn completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    /// Whether a connection has failed, or could not be made, since the last call: a broker that
    /// is gone may have handed its partitions on.
    pub(crate) fn take_failed(&mut self) -> bool {
        std::mem::take(&mut self.failed)
    }

    /// Whether a token is wanted, without taking notice.
    pub(crate) fn is_token_needed(&self) -> bool {
        self.token_needed
    }

    /// Whether a token is wanted (once per want): there is none, or four fifths of its life are
    /// over. [`set_token`](Self::set_token) hands it in.
    pub(crate) fn take_token_needed(&mut self) -> bool {
        std::mem::take(&mut self.token_needed)
    }

    /// Hands a token in, for the connections from here on. Brokers that could not be reached for
    /// want of one are tried again at once.
    ///
    /// # Errors
    /// Text for the user, if the mechanism has no tokens or this one cannot be used.
    pub(crate) fn set_token(&mut self, token: OAuthToken, now: Now) -> Result<(), String> {
        let Some(authenticator) = &mut self.authenticator else {
            return Err("security.protocol asks for no SASL, so there is no use for a token".into());
        };
        authenticator.set_token(token, now)?;
        self.token_needed = false;
        let fetched = self.no_token.take();
        for node in self.nodes.values_mut() {
            if matches!(node.failure, Some(Failure::Authentication(_) | Failure::NoToken))
                || fetched.is_some() && node.failure == fetched
            {
                node.retry_at = now.mono;
                node.failure = None;
                node.backoff.succeeded();
            }
        }
        Ok(())
    }

    /// What is known about the brokers being reachable.
    pub(crate) fn health(&self, now: Now) -> Health {
        if self.connections.values().any(|connection| connection.is_ready(now)) {
            return Health::Up;
        }
        let first = self.nodes.iter().filter(|(id, _)| **id < LINES);
        let mut failures = first.map(|(_, node)| &node.failure);
        match failures.clone().all(Option::is_some) {
            true => failures.find_map(Clone::clone).map_or(Health::Unknown, Health::Down),
            false => Health::Unknown,
        }
    }

    /// The next thing for the driver to do.
    pub(crate) fn action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Something has happened on a connection. Reports of connections that were given up are
    /// ignored.
    pub(crate) fn input(&mut self, input: Input, now: Now) {
        match input {
            Input::Connected { connection: id } => {
                let Some(connection) = self.connections.get_mut(&id) else { return };
                let node = connection.node;
                let done = connection.connected(now).map(|()| Arrived::Nothing);
                self.arrived(id, node, done.map_err(Broken::from), now);
            }
            Input::Frame { connection: id, frame } => {
                let Some(connection) = self.connections.get_mut(&id) else { return };
                let node = connection.node;
                let done = connection.frame(frame, now);
                self.arrived(id, node, done, now);
            }
            Input::Closed { connection, reason, tls } => {
                let failure = if tls { Failure::Authentication } else { Failure::Disconnected };
                self.closed(connection, failure(reason), now);
            }
            Input::Token(token) => self.fetched(token, now),
        }
    }

    fn arrived(&mut self, id: ConnectionId, node: NodeId, done: Result<Arrived, Broken>, now: Now) {
        match done {
            Ok(Arrived::Nothing) => {}
            Ok(Arrived::Ready) => {
                // All is forgiven, also for the brokers that are down: what counts from here on
                // is what fails from here on.
                for node in self.nodes.values_mut() {
                    node.failure = None;
                }
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.backoff.succeeded();
                }
            }
            Ok(Arrived::Response(tag, body)) => {
                self.completions.push_back(Completion { node, tag, result: Ok(body) });
            }
            Ok(Arrived::WantsAuthentication) => self.authenticate(id, now),
            Err(broken) => {
                let failure = match broken {
                    Broken::Malformed(error) => Failure::Disconnected(error.to_string()),
                    Broken::Failed(failure) => failure,
                    Broken::Denied(text) => {
                        // Whoever hands tokens in has no other one before its time.
                        if let Some(authenticator) = &mut self.authenticator
                            && let Some(SaslSettings::ClientCredentials(_)) = self.settings.sasl
                        {
                            authenticator.token_refused(now);
                        }
                        Failure::Authentication(text)
                    }
                };
                self.actions.push_back(Action::Close { connection: id });
                self.closed(id, failure, now);
                return;
            }
        }
        self.collect(node);
    }

    fn authenticate(&mut self, id: ConnectionId, now: Now) {
        let (Some(authenticator), Some(connection)) =
            (&mut self.authenticator, self.connections.get_mut(&id))
        else {
            return;
        };
        let node = connection.node;
        let failure = match authenticator.begin(now) {
            Ok(exchange) => {
                let done = connection.authenticate(authenticator.mechanism(), exchange, now);
                self.arrived(id, node, done.map(|()| Arrived::Nothing), now);
                return;
            }
            Err(NotYet::TokenNeeded) => {
                self.want_token(now);
                self.no_token.clone().unwrap_or(Failure::NoToken)
            }
            Err(NotYet::Refused(text)) => Failure::Authentication(text),
        };
        self.actions.push_back(Action::Close { connection: id });
        self.closed(id, failure, now);
    }

    /// Asks for a token if it is time: the driver, or the owner.
    fn want_token(&mut self, now: Now) {
        if !self.authenticator.as_mut().is_some_and(|auth| auth.take_token_wanted(now)) {
            return;
        }
        match self.settings.sasl {
            Some(SaslSettings::ClientCredentials(_)) => {
                if !std::mem::replace(&mut self.fetching, true) {
                    self.actions.push_back(Action::FetchToken);
                }
            }
            _ => self.token_needed = true,
        }
    }

    fn fetched(&mut self, token: Result<OAuthToken, NoToken>, now: Now) {
        self.fetching = false;
        let done = token.and_then(|token| {
            self.set_token(token, now).map_err(|text| NoToken { text, refused: false })
        });
        let Err(NoToken { text, refused }) = done else { return };
        tracing::warn!(target: "millstream::kafka", "no OAuth token: {text}");
        let failure = if refused { Failure::Authentication } else { Failure::Disconnected };
        let failure = failure(format!("no OAuth token: {text}"));
        for node in self.nodes.values_mut() {
            if node.failure.is_some()
                && (node.failure == Some(Failure::NoToken) || node.failure == self.no_token)
            {
                node.failure = Some(failure.clone());
            }
        }
        self.no_token = Some(failure);
    }

    fn closed(&mut self, id: ConnectionId, failure: Failure, now: Now) {
        self.end(id, Some(failure), now);
    }

    /// Forgets a connection. With a failure, its node waits before it is tried again.
    fn end(&mut self, id: ConnectionId, failure: Option<Failure>, now: Now) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        let node_id = connection.node;
        if let Some(mut traffic) = connection.traffic.take() {
            traffic.disconnects += u64::from(failure.is_some());
            if failure == Some(Failure::TimedOut) {
                traffic.timeouts += connection.in_flight() as u64;
            }
            self.traffic_of(node_id).add(*traffic);
        }
        self.failed |= failure.is_some();
        if failure.is_none() {
            self.actions.push_back(Action::Close { connection: id });
        }
        if let Some(node) = self.nodes.get_mut(&node_id) {
            node.connection = None;
            if let Some(failure) = &failure {
                tracing::debug!(target: "millstream::kafka", host = %node.host, port = node.port, %failure, "disconnected");
                node.retry_at = now.after(node.backoff.failed(&mut *self.random));
                node.failure = Some(failure.clone());
            }
        }
        let failure = failure.unwrap_or_else(|| Failure::Disconnected("idle".into()));
        self.completions.extend(connection.into_unanswered().map(|tag| Completion {
            node: node_id,
            tag,
            result: Err(failure.clone()),
        }));
    }

    fn traffic_of(&mut self, node: NodeId) -> &mut Traffic {
        self.traffic.entry(Self::broker_of(node)).or_default()
    }

    /// A batch for `node` has waited for so long until it was sent.
    pub(crate) fn waited(&mut self, node: NodeId, micros: u64) {
        let traffic = self.connection_mut(node).and_then(|connection| connection.traffic.as_mut());
        if let Some(traffic) = traffic {
            traffic.waited.add(micros);
        }
    }

    /// What went to and from each broker; its windows begin anew.
    pub(crate) fn statistics(&mut self, now: Now) -> Brokers {
        for connection in self.connections.values_mut() {
            if let Some(traffic) = &mut connection.traffic {
                let sum = self.traffic.entry(Self::broker_of(connection.node)).or_default();
                sum.add(std::mem::take(traffic));
            }
        }
        let first_lines = self.nodes.iter().filter(|(id, _)| **id < LINES);
        let states = first_lines.map(|(id, node)| {
            let connection = node.connection.and_then(|id| self.connections.get(&id));
            let of_broker = |other: &&Connection| Self::broker_of(other.node) == *id;
            BrokerState {
                id: *id,
                host: &node.host,
                port: node.port,
                state: match connection {
                    Some(connection) => connection.state_name(),
                    None if node.failure.is_some() => "DOWN",
                    None => "INIT",
                },
                waiting: self
                    .connections
                    .values()
                    .filter(of_broker)
                    .map(Connection::in_flight)
                    .sum(),
            }
        });
        Brokers::new(&mut self.traffic, states, now)
    }

    /// Lets time pass: gives up what has waited too long, renews sessions, closes what is idle,
    /// wants the next token.
    pub(crate) fn tick(&mut self, now: Now) {
        self.want_token(now);
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            let Some(connection) = self.connections.get(&id) else { continue };
            if connection.timed_out(now) {
                self.actions.push_back(Action::Close { connection: id });
                self.closed(id, Failure::TimedOut, now);
            } else if connection.wants_renewal(now) {
                self.authenticate(id, now);
            } else if self.settings.max_idle.is_some_and(|idle| {
                connection.in_flight() == 0 && connection.last_used + idle <= now.mono
            }) {
                self.end(id, None, now);
            }
        }
    }

    /// When [`tick`](Self::tick) has something to do at the latest.
    pub(crate) fn next_deadline(&self, now: Now) -> Option<Duration> {
        let connections = self.connections.values().flat_map(|connection| {
            let idle = self.settings.max_idle.filter(|_| connection.in_flight() == 0);
            let idle = idle.map(|idle| connection.last_used + idle);
            let patience = connection.patience_until().filter(|until| *until > now.mono);
            [connection.deadline(), connection.wakes_at(now), idle, patience]
        });
        let retries = self
            .nodes
            .values()
            .filter(|node| node.connection.is_none() && node.retry_at > now.mono)
            .map(|node| Some(node.retry_at));
        let token =
            self.authenticator.as_ref().map(|authenticator| authenticator.token_wanted_at(now));
        connections.chain(retries).chain(token).fold(None, earlier)
    }
}

impl Body {
    /// [`Body::decode`], with a failure that ends the connection of `node`.
    pub(crate) fn decode_from<R: Checked>(
        self,
        node: NodeId,
        network: &mut Network,
        now: Now,
    ) -> Result<R::Response, Failure> {
        self.decode::<R>().map_err(|error: Malformed| {
            let why = error.to_string();
            network.disconnect(node, &why, now);
            Failure::Disconnected(why)
        })
    }
}
