//! What is asked for at the start.

use std::path::PathBuf;

/// How clients are told apart, and what they may do. The default asks nobody for anything.
///
/// Secrets come from files, never from here, so that this can be shown.
#[derive(Clone, Debug, Default)]
pub struct SecurityConfig {
    /// Certificate and key of listeners with TLS.
    pub tls: Option<TlsFiles>,
    /// Users and what checks their passwords, one a line: `name:password`, or
    /// `name:SCRAM-SHA-256=[salt=..,stored_key=..,server_key=..,iterations=..]` (or with
    /// SCRAM-SHA-512). `#` begins a comment.
    pub users: Option<PathBuf>,
    /// Keys that sign the tokens of OAUTHBEARER: a JWKS, or public keys in PEM.
    pub oauth_keys: Option<PathBuf>,
    /// Takes tokens of OAUTHBEARER that nobody has signed, as Kafka's unsecured validator does.
    /// For tests: everybody can be anybody.
    pub oauth_unsecured: bool,
    /// Asks access control lists before anything is done, and refuses what they do not grant.
    pub acl: bool,
    /// Principals that may do everything, such as `User:admin`.
    pub super_users: Vec<String>,
}

/// Files in PEM for TLS.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The broker's certificate, then those that lead from it to the authority's.
    pub certificate: PathBuf,
    /// The certificate's private key, not encrypted.
    pub key: PathBuf,
    /// Certificates of the authorities that sign clients' certificates. Without it a client is
    /// asked for none.
    pub client_ca: Option<PathBuf>,
    /// Refuses clients without a certificate on listeners of the protocol SSL; Kafka's
    /// `ssl.client.auth=required` rather than `requested`.
    pub client_required: bool,
}

impl SecurityConfig {
    /// Whether there is anything that must be kept: rules or credentials.
    pub(crate) fn keeps_something(&self) -> bool {
        self.acl || self.users.is_some() || self.oauth_keys.is_some() || self.oauth_unsecured
    }
}
