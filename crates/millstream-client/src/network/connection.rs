//! One connection: from the version negotiation to ready, and the requests that are out on it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::{ApiVersionsRequest, SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::{Request, StrBytes};

use super::versions::Versions;
use super::{Failure, NodeId, Tag};
use crate::auth::{Exchange, printable};
use crate::statistics::Traffic;
use crate::time::{Now, earlier};
use crate::wire::{self, Body, Checked, Malformed};

const UNSUPPORTED_VERSION: i16 = 35;
/// The highest version of ApiVersions that we ask with. A broker that does not know it answers in
/// version 0 and is asked again in that.
const API_VERSIONS: i16 = 3;

/// Bytes of the length in front of a frame.
const FRAME_LENGTH: usize = 4;

/// How long nothing may be heard of a connection that is being set up before another broker is
/// tried beside it. Far below the time-out: of several brokers, one that is powered off must not
/// cost a start half a minute.
const SETUP_PATIENCE: Duration = Duration::from_secs(1);

/// A request that waits for its response.
struct InFlight {
    correlation: i32,
    version: i16,
    sent: Duration,
    deadline: Duration,
    of: Of,
}

/// Whose request it is.
enum Of {
    Owner(Tag),
    Setup(Setup),
}

/// The requests by which a connection becomes ready.
#[derive(Clone, Copy)]
enum Setup {
    Versions,
    Handshake,
    Authenticate,
}

enum State {
    /// The driver is connecting.
    Connecting {
        deadline: Duration,
    },
    /// Versions are being asked for, or the exchange of SASL is under way.
    SettingUp,
    Ready,
}

/// What a frame led to.
pub(super) enum Arrived {
    /// Part of the setup.
    Nothing,
    /// The connection is ready now.
    Ready,
    /// A response for its owner.
    Response(Tag, Body),
    /// Versions are known and SASL is wanted: [`Connection::authenticate`] goes on.
    WantsAuthentication,
}

/// What ends a connection.
pub(super) enum Broken {
    Malformed(Malformed),
    Failed(Failure),
    /// The broker does not take the credentials, in these words.
    Denied(String),
}

impl From<Malformed> for Broken {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

pub(super) struct Connection {
    pub(super) node: NodeId,
    state: State,
    sasl: bool,
    client_id: StrBytes,
    correlation: i32,
    in_flight: VecDeque<InFlight>,
    pub(super) versions: Versions,
    exchange: Option<(Box<dyn Exchange>, &'static str)>,
    /// When to authenticate again, before the broker ends the session (KIP-368).
    renew_at: Option<Duration>,
    pub(super) throttled_until: Duration,
    pub(super) last_used: Duration,
    /// Counted if someone wants statistics.
    pub(super) traffic: Option<Box<Traffic>>,
    timeout: Duration,
    /// Frames to send, in order.
    pub(super) out: Vec<Bytes>,
}

impl Connection {
    pub(super) fn new(
        node: NodeId,
        client_id: StrBytes,
        sasl: bool,
        setup_timeout: Duration,
        counts: bool,
        now: Now,
    ) -> Self {
        Self {
            node,
            state: State::Connecting { deadline: now.after(setup_timeout) },
            sasl,
            client_id,
            correlation: 0,
            in_flight: VecDeque::new(),
            versions: Versions::default(),
            exchange: None,
            renew_at: None,
            throttled_until: Duration::ZERO,
            last_used: now.mono,
            traffic: counts.then(Box::default),
            timeout: setup_timeout,
            out: Vec::new(),
        }
    }

    pub(super) fn is_ready(&self, now: Now) -> bool {
        matches!(self.state, State::Ready)
            && self.throttled_until <= now.mono
            && self.renew_at.is_none_or(|at| now.mono < at)
    }

    /// Whether the session must be renewed and nothing is out that would mix with it.
    pub(super) fn wants_renewal(&self, now: Now) -> bool {
        matches!(self.state, State::Ready)
            && self.renew_at.is_some_and(|at| now.mono >= at)
            && self.in_flight.is_empty()
    }

    /// As librdkafka calls the state in statistics.
    pub(super) fn state_name(&self) -> &'static str {
        match self.state {
            State::Connecting { .. } => "CONNECT",
            State::SettingUp if self.exchange.is_some() => "AUTH_REQ",
            State::SettingUp => "APIVERSION_QUERY",
            State::Ready => "UP",
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The driver has connected (TLS included).
    pub(super) fn connected(&mut self, now: Now) -> Result<(), Malformed> {
        self.state = State::SettingUp;
        self.ask_versions(API_VERSIONS, now)
    }

    fn ask_versions(&mut self, version: i16, now: Now) -> Result<(), Malformed> {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request = request
                .with_client_software_name(StrBytes::from_static_str("millstream"))
                .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        }
        self.send_setup(&request, version, Setup::Versions, now)
    }

    /// Begins SASL.
    pub(super) fn authenticate(
        &mut self,
        mechanism: &'static str,
        exchange: Box<dyn Exchange>,
        now: Now,
    ) -> Result<(), Broken> {
        self.state = State::SettingUp;
        self.exchange = Some((exchange, mechanism));
        let version = self.pick::<SaslHandshakeRequest>((1, 1))?;
        let request =
            SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
        Ok(self.send_setup(&request, version, Setup::Handshake, now)?)
    }

    fn pick<R: Checked>(&self, ours: (i16, i16)) -> Result<i16, Broken> {
        self.versions.pick::<R>(ours).ok_or_else(|| {
            Broken::Failed(Failure::Authentication(
                "the broker's listener does not offer SASL; check security.protocol".into(),
            ))
        })
    }

    fn send_setup<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        of: Setup,
        now: Now,
    ) -> Result<(), Malformed> {
        let deadline = now.after(self.timeout);
        self.push(request, version, deadline, Some(Of::Setup(of)), now)
    }

    /// Sends a request of the owner. Without a tag no response is expected.
    pub(super) fn send<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        timeout: Duration,
        tag: Option<Tag>,
        now: Now,
    ) -> Result<(), Malformed> {
        self.push(request, version, now.after(timeout), tag.map(Of::Owner), now)
    }

    fn push<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        deadline: Duration,
        of: Option<Of>,
        now: Now,
    ) -> Result<(), Malformed> {
        let correlation = self.correlation;
        self.correlation = self.correlation.wrapping_add(1);
        let frame = wire::encode(request, version, correlation, &self.client_id)?;
        if let Some(traffic) = &mut self.traffic {
            traffic.sent(R::KEY, frame.len(), now);
        }
        self.out.push(frame);
        self.last_used = now.mono;
        if let Some(of) = of {
            self.in_flight.push_back(InFlight {
                correlation,
                version,
                sent: now.mono,
                deadline,
                of,
            });
        }
        Ok(())
    }

    /// A frame has arrived.
    pub(super) fn frame(&mut self, frame: Bytes, now: Now) -> Result<Arrived, Broken> {
        let correlation = wire::correlation_of(&frame)?;
        self.last_used = now.mono;
        // Brokers answer the requests of one connection in their order.
        let is_next = self.in_flight.front().is_some_and(|out| out.correlation == correlation);
        // One that is not answered by it stays, to come back with the others.
        let request = if is_next { self.in_flight.pop_front() } else { None };
        let Some(request) = request else {
            return Err(Broken::Failed(Failure::Disconnected(format!(
                "a response to a request that is not out (correlation id {correlation}); is this a Kafka listener?"
            ))));
        };
        if let Some(traffic) = &mut self.traffic {
            let after = now.mono.saturating_sub(request.sent);
            traffic.received(frame.len() + FRAME_LENGTH, after, now);
        }
        let body = Body::new(request.version, frame);
        match request.of {
            Of::Owner(tag) => Ok(Arrived::Response(tag, body)),
            Of::Setup(setup) => self.setup(setup, body, now),
        }
    }

    fn setup(&mut self, setup: Setup, body: Body, now: Now) -> Result<Arrived, Broken> {
        match setup {
            Setup::Versions => {
                // The body of an error is in version 0 whatever was asked.
                let asked = body.version();
                let (code, response) =
                    if asked > 0 && body.error_code_at_front() == Some(UNSUPPORTED_VERSION) {
                        (UNSUPPORTED_VERSION, None)
                    } else {
                        let response = body.decode::<ApiVersionsRequest>()?;
                        (response.error_code, Some(response))
                    };
                match (code, response) {
                    (0, Some(response)) => {
                        self.versions = Versions::of(&response);
                        if self.sasl {
                            return Ok(Arrived::WantsAuthentication);
                        }
                        self.state = State::Ready;
                        Ok(Arrived::Ready)
                    }
                    (UNSUPPORTED_VERSION, _) if asked > 0 => {
                        self.ask_versions(0, now)?;
                        Ok(Arrived::Nothing)
                    }
                    (code, _) => Err(Broken::Failed(Failure::Disconnected(format!(
                        "the broker refused ApiVersions with code {code}"
                    )))),
                }
            }
            Setup::Handshake => {
                let response = body.decode::<SaslHandshakeRequest>()?;
                let Some((exchange, mechanism)) = &mut self.exchange else {
                    return Ok(Arrived::Nothing);
                };
                if response.error_code != 0 {
                    let offered: Vec<_> =
                        response.mechanisms.iter().map(|name| name.as_str()).collect();
                    return Err(Broken::Failed(Failure::Authentication(format!(
                        "the broker does not take sasl.mechanism {mechanism}; it offers {}",
                        printable(&offered.join(", "))
                    ))));
                }
                let first = exchange.start().map_err(authentication)?;
                self.send_token(first, now)?;
                Ok(Arrived::Nothing)
            }
            Setup::Authenticate => {
                let response = body.decode::<SaslAuthenticateRequest>()?;
                let Some((exchange, _)) = &mut self.exchange else {
                    return Ok(Arrived::Nothing);
                };
                if response.error_code != 0 {
                    let text = response.error_message.as_deref().unwrap_or("authentication failed");
                    return Err(Broken::Denied(exchange.refused(&printable(text))));
                }
                if let Some(next) = exchange.step(&response.auth_bytes).map_err(authentication)? {
                    self.send_token(next, now)?;
                    return Ok(Arrived::Nothing);
                }
                self.exchange = None;
                let lifetime = response.session_lifetime_ms;
                // Nine tenths, as an exchange takes time and clocks differ.
                self.renew_at = (lifetime > 0)
                    .then(|| now.after(Duration::from_millis(lifetime as u64) * 9 / 10));
                self.state = State::Ready;
                Ok(Arrived::Ready)
            }
        }
    }

    fn send_token(&mut self, token: Vec<u8>, now: Now) -> Result<(), Broken> {
        let version = self.pick::<SaslAuthenticateRequest>((0, 2))?;
        let request = SaslAuthenticateRequest::default().with_auth_bytes(token.into());
        Ok(self.send_setup(&request, version, Setup::Authenticate, now)?)
    }

    /// Whether something has waited for longer than it may.
    pub(super) fn timed_out(&self, now: Now) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now.mono)
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let connecting = match self.state {
            State::Connecting { deadline } => Some(deadline),
            _ => None,
        };
        self.in_flight
            .iter()
            .map(|request| request.deadline)
            .fold(connecting, |earliest, at| earlier(earliest, Some(at)))
    }

    /// Until when one that is being set up is waited for before another broker is tried beside it;
    /// `None` if it is set up.
    pub(super) fn patience_until(&self) -> Option<Duration> {
        (!matches!(self.state, State::Ready)).then(|| self.last_used + SETUP_PATIENCE)
    }

    /// When the connection becomes usable again, if it is only throttled or due for renewal.
    pub(super) fn wakes_at(&self, now: Now) -> Option<Duration> {
        let throttled = (self.throttled_until > now.mono).then_some(self.throttled_until);
        let renewal = self.renew_at.filter(|at| *at > now.mono);
        earlier(throttled, renewal)
    }

    /// The tags of what is out, in order. The connection is of no more use.
    pub(super) fn into_unanswered(self) -> impl Iterator<Item = Tag> {
        self.in_flight.into_iter().filter_map(|request| match request.of {
            Of::Owner(tag) => Some(tag),
            Of::Setup(_) => None,
        })
    }
}

fn authentication(text: String) -> Broken {
    Broken::Failed(Failure::Authentication(text))
}
