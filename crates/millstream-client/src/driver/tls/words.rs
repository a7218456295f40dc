//! What rustls says, as what a user can do.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::{
    AlertDescription as Alert, CertificateError as Certificate, Error, InvalidMessage, OtherError,
};

/// TLS was refused by one of the two sides, and will be again.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// Whether an error of a stream says that TLS was refused.
pub(in crate::driver) fn refusal(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Refused>())
}

/// An error of rustls as one of the stream.
pub(super) fn io_error(error: &Error, handshaking: bool) -> io::Error {
    let text = words(error);
    // With TLS 1.3 a broker refuses the client's certificate after the client is through.
    match handshaking || matches!(error, Error::AlertReceived(_)) {
        true => io::Error::new(io::ErrorKind::InvalidData, Refused(text)),
        false => io::Error::new(io::ErrorKind::InvalidData, text),
    }
}

/// Whether a certificate was refused for being that of an authority, and for nothing else so far.
pub(super) fn is_ca_used_as_end_entity(error: &Error) -> bool {
    // webpki names it in its own words only.
    matches!(error, Error::InvalidCertificate(Certificate::Other(other))
        if other.to_string().contains("CaUsedAsEndEntity"))
}

/// A trusted certificate is an authority's and may be limited to other things than serving.
#[derive(Debug)]
struct Limited;

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "is that of an authority (CA:TRUE) and has extendedKeyUsage without serverAuth, or nameConstraints",
        )
    }
}

impl std::error::Error for Limited {}

/// [`Limited`], as verifiers say it.
pub(super) fn limited() -> Error {
    Error::InvalidCertificate(Certificate::Other(OtherError(Arc::new(Limited))))
}

/// What went wrong and what to check. Says nothing secret: certificates are public.
fn words(error: &Error) -> String {
    let certificate =
        |what: &str, advice: &str| format!("TLS: the broker's certificate {what}; {advice}");
    match error {
        Error::InvalidCertificate(Certificate::UnknownIssuer) => certificate(
            "is of an unknown issuer",
            "name the file with the issuer's certificate in ssl.ca.location",
        ),
        Error::InvalidCertificate(
            reason @ (Certificate::Expired | Certificate::ExpiredContext { .. }),
        ) => certificate(
            &format!("has expired ({reason})"),
            "the broker needs a new one, or the clock here is wrong",
        ),
        Error::InvalidCertificate(
            reason @ (Certificate::NotValidYet | Certificate::NotValidYetContext { .. }),
        ) => certificate(&format!("is not valid yet ({reason})"), "check the clocks here and there"),
        Error::InvalidCertificate(
            reason @ (Certificate::NotValidForName | Certificate::NotValidForNameContext { .. }),
        ) => certificate(
            &format!("is for another host name ({reason})"),
            "use the name that the certificate has in bootstrap.servers and advertised.listeners, or set ssl.endpoint.identification.algorithm=none",
        ),
        error if is_ca_used_as_end_entity(error) => certificate(
            "is that of an authority (CA:TRUE) and cannot be the broker's own",
            "let it sign one for the broker, or name the very certificate in ssl.ca.location",
        ),
        Error::InvalidCertificate(Certificate::Other(other)) if other.0.is::<Limited>() => certificate(
            &other.0.to_string(),
            "make it anew with basicConstraints=CA:FALSE, or without these limits",
        ),
        Error::InvalidCertificate(reason) => {
            certificate(&format!("is not accepted: {reason}"), "check it and ssl.ca.location")
        }
        Error::AlertReceived(Alert::CertificateRequired) => {
            "TLS: the broker requires a client certificate; set ssl.certificate.location and ssl.key.location".into()
        }
        Error::AlertReceived(
            alert @ (Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::UnsupportedCertificate
            | Alert::AccessDenied),
        ) => format!(
            "TLS: the broker refused the client's certificate ({alert:?}); check ssl.certificate.location, and that the broker's truststore has its issuer"
        ),
        Error::AlertReceived(Alert::HandshakeFailure) => {
            "TLS: the broker refused the handshake (HandshakeFailure); it may require a client certificate (ssl.certificate.location), or there is no cipher suite in common".into()
        }
        Error::AlertReceived(alert) => format!("TLS: the broker ended the connection ({alert:?})"),
        Error::PeerIncompatible(reason) => format!(
            "TLS: broker and client have no protocol version or algorithm in common ({reason:?}); TLS 1.2 or 1.3 is needed"
        ),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "TLS: the other side does not speak TLS; check that security.protocol fits the port".into(),
        error => format!("TLS: {error}"),
    }
}
