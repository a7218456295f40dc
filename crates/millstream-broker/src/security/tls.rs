//! TLS: from files to a configuration, and from a client's certificate to a principal.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream_types::Clock;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{AlertDescription, CertificateError, RootCertStore, ServerConfig};

use super::{SecurityProtocol, TlsFiles, name};

/// The time by the clock that was handed in: certificates expire.
struct ClockTime(Arc<dyn Clock>);

impl fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockTime")
    }
}

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        let now_ms = u64::try_from(self.0.wall()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(now_ms)))
    }
}

/// The configurations of listeners with TLS.
#[derive(Clone)]
pub(crate) struct Tls {
    /// Of the protocol SSL, where clients may be asked for certificates.
    ssl: Arc<ServerConfig>,
    /// Of SASL_SSL, where nobody asks: who a client is, SASL says, as in Kafka.
    sasl_ssl: Arc<ServerConfig>,
}

impl Tls {
    /// The configuration for a protocol, if it has TLS.
    pub(crate) fn of(&self, protocol: SecurityProtocol) -> Option<Arc<ServerConfig>> {
        match protocol {
            SecurityProtocol::Ssl => Some(Arc::clone(&self.ssl)),
            SecurityProtocol::SaslSsl => Some(Arc::clone(&self.sasl_ssl)),
            SecurityProtocol::Plaintext | SecurityProtocol::SaslPlaintext => None,
        }
    }
}

/// Makes the configurations of listeners with TLS.
///
/// # Errors
/// A text for the user.
pub(super) fn configure(
    files: &TlsFiles,
    read: impl Fn(&Path) -> Result<Vec<u8>, String>,
    clock: &Arc<dyn Clock>,
) -> Result<Tls, String> {
    let without_clients = TlsFiles { client_ca: None, ..files.clone() };
    Ok(Tls {
        ssl: Arc::new(configure_one(files, &read, Arc::clone(clock))?),
        sasl_ssl: Arc::new(configure_one(&without_clients, &read, Arc::clone(clock))?),
    })
}

fn configure_one(
    files: &TlsFiles,
    read: impl Fn(&Path) -> Result<Vec<u8>, String>,
    clock: Arc<dyn Clock>,
) -> Result<ServerConfig, String> {
    let chain = certificates(&files.certificate, &read)?;
    let key = private_key(&files.key, &read)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(ClockTime(clock)))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be used: {error}"))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path, &read)? {
                roots.add(certificate).map_err(|error| {
                    format!("{} is no certificate of an authority: {error}", path.display())
                })?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match files.client_required {
                true => verifier,
                false => verifier.allow_unauthenticated(),
            };
            let verifier: Arc<dyn ClientCertVerifier> = verifier
                .build()
                .map_err(|error| format!("{} cannot be used: {error}", path.display()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    builder.with_single_cert(chain, key).map_err(|error| {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        match error {
            rustls::Error::InconsistentKeys(_) => format!(
                "the private key {key} does not belong to the certificate {certificate}; the \
                 broker's own certificate must stand first in its file"
            ),
            error => {
                format!("the certificate {certificate} or its key {key} cannot be used: {error}")
            }
        }
    })
}

fn certificates(
    path: &Path,
    read: impl Fn(&Path) -> Result<Vec<u8>, String>,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| format!("{} is no PEM: {error}", path.display()))?;
    if found.is_empty() {
        return Err(format!(
            "there is no certificate in {}: PEM is wanted (BEGIN CERTIFICATE)",
            path.display()
        ));
    }
    Ok(found)
}

fn private_key(
    path: &Path,
    read: impl Fn(&Path) -> Result<Vec<u8>, String>,
) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let path = path.display();
        let text = String::from_utf8_lossy(&bytes);
        match text.contains("BEGIN ENCRYPTED PRIVATE KEY")
            || text.contains("Proc-Type: 4,ENCRYPTED")
        {
            true => format!(
                "the private key {path} is encrypted; decrypt it into a file that only you can \
                 read: openssl pkey -in {path} -out FILE"
            ),
            false => {
                format!("there is no private key in {path}: PEM is wanted (BEGIN PRIVATE KEY)")
            }
        }
    })
}

/// The principal of a client's certificate, as Kafka's default rule makes it.
pub(crate) fn principal_of(certificate: &[u8]) -> Option<String> {
    name::subject(certificate).map(|subject| format!("User:{subject}"))
}

/// Why a handshake has failed, in words for the log.
pub(crate) fn describe(error: &std::io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(reason)) => match reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("the client's certificate has expired ({reason})")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("the client's certificate does not count yet ({reason})")
            }
            CertificateError::UnknownIssuer => {
                "the client's certificate comes from an authority that --tls-client-ca does not name"
                    .to_owned()
            }
            reason => format!("the client's certificate is not accepted: {reason}"),
        },
        Some(rustls::Error::NoCertificatesPresented) => {
            "the client has no certificate, and one is required".to_owned()
        }
        Some(rustls::Error::AlertReceived(alert)) => match alert {
            AlertDescription::CertificateExpired => {
                "the client says that the broker's certificate has expired".to_owned()
            }
            AlertDescription::UnknownCA | AlertDescription::CertificateUnknown => {
                "the client does not trust the broker's certificate".to_owned()
            }
            alert => format!("the client has broken it off: {alert:?}"),
        },
        Some(rustls::Error::InvalidMessage(_)) => {
            "what the client sends is not TLS; does it connect with another security.protocol?"
                .to_owned()
        }
        Some(error) => error.to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_handshakes_are_told_in_words() {
        let alert = rustls::Error::AlertReceived;
        for (error, expected) in [
            (
                rustls::Error::InvalidCertificate(CertificateError::Expired),
                "the client's certificate has expired",
            ),
            (
                rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer),
                "an authority that --tls-client-ca does not name",
            ),
            (rustls::Error::NoCertificatesPresented, "the client has no certificate"),
            (
                alert(AlertDescription::CertificateExpired),
                "the client says that the broker's certificate has expired",
            ),
            (alert(AlertDescription::UnknownCA), "does not trust the broker's certificate"),
            (
                rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
                "is not TLS",
            ),
        ] {
            let text = describe(&std::io::Error::other(error));
            assert!(text.contains(expected), "{text}");
        }
        let cut = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "tls handshake eof");
        assert_eq!(describe(&cut), "tls handshake eof");
    }
}
