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

use super::words::is_ca_used_as_end_entity;

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

/// DER of the object identifiers of two extensions: extended key usage, name constraints.
const LIMITING: [&[u8]; 2] = [&[6, 3, 0x55, 0x1d, 0x25], &[6, 3, 0x55, 0x1d, 0x1e]];

/// Takes a broker's certificate that is marked as an authority's (CA:TRUE, as `openssl req -x509`
/// makes them) if it is, byte for byte, one of the trusted ones, as OpenSSL does.
///
/// Nobody gets in by this who would not get in without it: whoever has the key of a trusted
/// authority can sign a certificate for any name. Name and validity must be right all the same.
/// Extensions that could limit an authority to less are not read; with one of them it is refused.
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

    fn is_trusted(&self, certificate: &CertificateDer<'_>) -> bool {
        let limited = |id: &&[u8]| certificate.windows(id.len()).any(|part| part == *id);
        self.trusted.contains(certificate) && !LIMITING.iter().any(limited)
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
            Err(error) if is_ca_used_as_end_entity(&error) && self.is_trusted(end_entity) => {
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
