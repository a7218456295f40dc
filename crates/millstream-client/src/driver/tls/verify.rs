//! Verifying less of a broker's certificate than rustls does: where the settings say so, and where
//! the certificate is itself a trusted one.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::words::{is_ca_used_as_end_entity, limited};

/// `enable.ssl.certificate.verification=false`: whoever answers will do.
#[derive(Debug)]
pub(super) struct Nothing(WebPkiSupportedAlgorithms);

impl Nothing {
    pub(super) fn new(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

/// `ssl.endpoint.identification.algorithm=none`: any certificate of the authorities will do,
/// whatever name it is for.
#[derive(Debug)]
pub(super) struct ChainOnly {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ChainOnly {
    pub(super) fn new(roots: Arc<RootCertStore>, provider: &CryptoProvider) -> Self {
        Self { roots, algorithms: provider.signature_verification_algorithms }
    }
}

/// Signatures of the handshake are verified in any case: they prove that the other side has the
/// key of the certificate it showed.
macro_rules! verify_signatures {
    ($self:ident => $algorithms:expr) => {
        fn verify_tls12_signature(
            &$self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, dss, &$algorithms)
        }

        fn verify_tls13_signature(
            &$self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &$algorithms)
        }

        fn supported_verify_schemes(&$self) -> Vec<SignatureScheme> {
            $algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for Nothing {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    verify_signatures!(self => self.0);
}

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    verify_signatures!(self => self.algorithms);
}

/// DER of the object identifiers of two extensions that limit what a certificate is good for.
const EXTENDED_KEY_USAGE: &[u8] = &[6, 3, 0x55, 0x1d, 0x25];
const NAME_CONSTRAINTS: &[u8] = &[6, 3, 0x55, 0x1d, 0x1e];
/// The identifier of the purpose serverAuth, without its DER head.
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];

/// Whether a certificate may be limited to other things than serving any name it has. Identifiers
/// are searched for: bytes that only look like one can make this true, never false.
fn is_limited(certificate: &[u8]) -> bool {
    let behind = |id: &'static [u8]| {
        let found = certificate.windows(id.len()).enumerate().filter(move |(_, part)| *part == id);
        found.map(move |(at, _)| &certificate[at + id.len()..])
    };
    behind(NAME_CONSTRAINTS).next().is_some() || !behind(EXTENDED_KEY_USAGE).all(serves)
}

/// Whether an extended key usage, of which this is the DER behind the identifier, has serverAuth.
fn serves(extension: &[u8]) -> bool {
    // Whether it is critical; absent for false.
    let extension = extension.strip_prefix(&[1, 1, 0xff]).unwrap_or(extension);
    // An octet string that is a sequence of identifiers, of lengths that take a byte.
    let [4, outer @ ..=0x7f, 0x30, inner, purposes @ ..] = extension else { return false };
    if inner.checked_add(2) != Some(*outer) {
        return false;
    }
    let Some(mut purposes) = purposes.get(..usize::from(*inner)) else { return false };
    while let [6, length, rest @ ..] = purposes {
        let Some((purpose, rest)) = rest.split_at_checked(usize::from(*length)) else {
            return false;
        };
        if purpose == SERVER_AUTH {
            return true;
        }
        purposes = rest;
    }
    false
}

/// Takes a broker's certificate that is marked as an authority's (CA:TRUE, as `openssl req -x509`
/// makes them) if it is, byte for byte, one of the trusted ones, as OpenSSL does.
///
/// Nobody gets in by this who would not get in without it: whoever has the key of a trusted
/// authority can sign a certificate for any name. Name and validity must be right all the same.
/// An authority that extensions may limit to less is refused.
#[derive(Debug)]
pub(super) struct OrItself {
    verifier: Arc<dyn ServerCertVerifier>,
    trusted: Vec<CertificateDer<'static>>,
    verify_host: bool,
}

impl OrItself {
    pub(super) fn new(
        verifier: Arc<dyn ServerCertVerifier>,
        trusted: Vec<CertificateDer<'static>>,
        verify_host: bool,
    ) -> Self {
        Self { verifier, trusted, verify_host }
    }
}

impl ServerCertVerifier for OrItself {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let done = self.verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match done {
            // It is said of a certificate whose validity was found right before; a test holds on to
            // that. Names come after it.
            Err(error) if is_ca_used_as_end_entity(&error) && self.trusted.contains(end_entity) => {
                if is_limited(end_entity) {
                    return Err(limited());
                }
                if self.verify_host {
                    verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            done => done,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extended_key_usage_is_read_as_it_is_written() {
        let for_servers: &[u8] = &[4, 12, 0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1];
        let for_clients: &[u8] = &[4, 12, 0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];
        let for_both = [&[4, 22, 0x30, 20][..], &for_clients[4..], &for_servers[4..]].concat();
        let critical = [&[1, 1, 0xff][..], for_servers].concat();
        for good in [for_servers, &for_both, &critical, &[for_servers, &[0x30]].concat()] {
            assert!(serves(good) && !is_limited(&[EXTENDED_KEY_USAGE, good].concat()), "{good:?}");
        }
        // The second one's serverAuth is behind the end of its sequence.
        let ends_before = [&[4, 12, 0x30, 10][..], &for_both[4..]].concat();
        for bad in [for_clients, &ends_before] {
            assert!(!serves(bad) && is_limited(&[EXTENDED_KEY_USAGE, bad].concat()), "{bad:?}");
        }
        for end in 0..for_servers.len() {
            assert!(!serves(&for_servers[..end]), "cut at {end}");
        }
        let twice = [EXTENDED_KEY_USAGE, for_servers, EXTENDED_KEY_USAGE, for_clients].concat();
        assert!(is_limited(&twice));
        assert!(is_limited(NAME_CONSTRAINTS) && !is_limited(&[1, 2, 3, 4, 5, 6]));
    }
}
