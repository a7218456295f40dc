//! How a listener is secured.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// How a listener is secured: Kafka's `security.protocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    #[default]
    Plaintext,
    /// TLS; a client is known by its certificate, if it is asked for one.
    Ssl,
    /// SASL without encryption: passwords of PLAIN and tokens can be read on the way.
    SaslPlaintext,
    /// SASL inside TLS.
    SaslSsl,
}

impl SecurityProtocol {
    const ALL: [Self; 4] = [Self::Plaintext, Self::Ssl, Self::SaslPlaintext, Self::SaslSsl];

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    /// Whether connections are encrypted.
    pub fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Whether clients say who they are by SASL.
    pub fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SecurityProtocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(text));
        known.ok_or_else(|| {
            format!(
                "`{text}` is no security protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL is wanted"
            )
        })
    }
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// How it is secured. One broker has at most one listener of each kind.
    pub protocol: SecurityProtocol,
    /// Address to listen on; port 0 lets the system pick one.
    pub address: SocketAddr,
    /// Host and port that clients of this listener are told to connect to, if not the one listened
    /// on (port 0 stands for that one's). Needed if that is a wildcard such as 0.0.0.0.
    pub advertised: Option<(String, u16)>,
}

impl Listener {
    /// Listens there, and says so to clients.
    pub fn new(protocol: SecurityProtocol, address: SocketAddr) -> Self {
        Self { protocol, address, advertised: None }
    }
}
