//! Fetching OAuth tokens over HTTP, on a thread of its own: the endpoint may take its time.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use millstream_types::Clock;
use rustls::crypto::ring;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Error};

use super::sockets::Control;
use super::tls::Trusted;
use crate::auth::{self, ANSWER_MAX, NoToken, OAuthToken};
use crate::settings::{ConnectionSettings, SaslSettings, SettingError, TokenEndpoint};

/// Longest wait for a token, from the look-up of the endpoint's name to the end of its answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of a fetch.
pub(super) type Fetched = Result<OAuthToken, NoToken>;

/// The token endpoint, and the fetch that is under way.
pub(super) struct Tokens {
    endpoint: Arc<TokenEndpoint>,
    agent: Agent,
    clock: Arc<dyn Clock>,
    control: Arc<Control>,
    sender: Sender<Fetched>,
    receiver: Receiver<Fetched>,
}

impl Tokens {
    /// Reads what the endpoint's settings name; `None` if they name no endpoint.
    ///
    /// # Errors
    /// The setting whose file or URL is not what it should be.
    pub(super) fn new(
        settings: &ConnectionSettings,
        clock: Arc<dyn Clock>,
        control: Arc<Control>,
    ) -> Result<Option<Self>, SettingError> {
        let Some(SaslSettings::ClientCredentials(endpoint)) = &settings.sasl else {
            return Ok(None);
        };
        if !settings.protocol.has_sasl() {
            return Ok(None);
        }
        let agent = agent(endpoint, PATIENCE)?;
        let endpoint = Arc::new(endpoint.clone());
        let (sender, receiver) = channel();
        Ok(Some(Self { endpoint, agent, clock, control, sender, receiver }))
    }

    /// Begins a fetch; the thread of the sockets is woken when it is done.
    pub(super) fn begin(&self) {
        let (endpoint, agent, clock) =
            (self.endpoint.clone(), self.agent.clone(), self.clock.clone());
        let (control, sender) = (self.control.clone(), self.sender.clone());
        let run = move || {
            let fetched = fetch(&endpoint, &agent, &*clock);
            // Nobody waits for it if the client is gone.
            let _ = sender.send(fetched);
            control.wake();
        };
        let thread = std::thread::Builder::new().name("millstream-token".into()).spawn(run);
        if let Err(error) = thread {
            let what = format!("cannot be asked, there is no thread: {error}");
            let _ = self.sender.send(Err(NoToken::of(&self.endpoint, &what)));
            self.control.wake();
        }
    }

    /// The result that has come.
    pub(super) fn done(&self) -> Option<Fetched> {
        self.receiver.try_recv().ok()
    }
}

fn agent(endpoint: &TokenEndpoint, patience: Duration) -> Result<Agent, SettingError> {
    let uri: Uri = endpoint.url.parse().map_err(|error| {
        SettingError::new("sasl.oauthbearer.token.endpoint.url", format!("is no URL: {error}"))
    })?;
    let certificates: Vec<Certificate<'static>> = match uri.scheme_str() {
        Some("https") => Trusted::of(endpoint.authorities.as_ref(), "https.ca")?
            .certificates
            .iter()
            .map(|certificate| Certificate::from_der(certificate).to_owned())
            .collect(),
        _ => Vec::new(),
    };
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&certificates))
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build();
    Ok(Agent::config_builder()
        .tls_config(tls)
        // Neither the environment nor the endpoint says who else gets to see the secret.
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(patience))
        .max_idle_connections(0)
        .user_agent(concat!("millstream/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent())
}

fn fetch(endpoint: &TokenEndpoint, agent: &Agent, clock: &dyn Clock) -> Fetched {
    let ask = || -> Result<(u16, Vec<u8>), Error> {
        let mut response = agent
            .post(&endpoint.url)
            .header("Authorization", &*auth::authorization(endpoint))
            .header("Accept", "application/json")
            .content_type("application/x-www-form-urlencoded")
            .send(auth::form(endpoint))?;
        let body = response.body_mut().with_config().limit(ANSWER_MAX).read_to_vec()?;
        Ok((response.status().as_u16(), body))
    };
    let (status, body) = ask().map_err(|error| NoToken::of(endpoint, &words(&error)))?;
    auth::token(endpoint, status, &body, clock.wall())
}

/// What went wrong and what to check.
fn words(error: &Error) -> String {
    let url = "sasl.oauthbearer.token.endpoint.url";
    match error {
        Error::Timeout(_) => "gave no answer in time".into(),
        Error::BodyExceedsLimit(_) => {
            format!("answered with more than {ANSWER_MAX} bytes; check {url}")
        }
        Error::HostNotFound => format!("has a host that is not known; check {url}"),
        Error::Protocol(error) => format!("does not speak HTTP ({error}); check {url}"),
        Error::Rustls(error) => {
            format!("is not trusted or speaks no TLS: {error}; check {url} and https.ca.location")
        }
        Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(error) => words(&Error::Rustls(rustls::Error::clone(error))),
            None => format!("cannot be reached: {error}"),
        },
        error => format!("cannot be asked: {error}; check {url}"),
    }
}

#[cfg(test)]
mod tests;
