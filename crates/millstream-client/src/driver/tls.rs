//! TLS by rustls: what the settings say, read once when the client is made.

mod key;
mod session;
#[cfg(test)]
mod tests;
mod trust;
mod verify;
mod words;

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::settings::{Pem, SettingError, TlsSettings};

pub(super) use session::TlsStream;
pub(super) use trust::Trusted;
pub(super) use words::refusal;

/// What every connection of a client shares.
pub(super) type TlsConfig = Arc<rustls::ClientConfig>;

/// Reads files and PEM texts.
///
/// # Errors
/// The setting whose file cannot be read or is not what it should be.
pub(super) fn config(settings: &TlsSettings) -> Result<TlsConfig, SettingError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let failed = |error: rustls::Error| SettingError::new("security.protocol", error.to_string());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(verifier(settings, provider)?);
    let config = match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate, "ssl.certificate")?;
            let private = key::private_key(key, settings.key_password.as_ref())?;
            builder.with_client_auth_cert(chain, private).map_err(|error| {
                let reason = match error {
                    rustls::Error::InconsistentKeys(_) => {
                        "is not the key of the certificate in ssl.certificate.location".to_owned()
                    }
                    error => format!("cannot be used with the certificate: {error}"),
                };
                SettingError::new(setting_of(key, "ssl.key"), reason)
            })?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn verifier(
    settings: &TlsSettings,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, SettingError> {
    let given = settings.authorities.as_ref();
    if !settings.verify_certificate {
        // A wrong file is told even where nothing would be verified by it.
        given.map(|given| Trusted::read(given, "ssl.ca")).transpose()?;
        return Ok(Arc::new(verify::Nothing::new(&provider)));
    }
    let Trusted { roots, certificates } = Trusted::of(given, "ssl.ca")?;
    let roots = Arc::new(roots);
    let verifier: Arc<dyn ServerCertVerifier> = match settings.verify_host {
        false => Arc::new(verify::ChainOnly::new(roots, &provider)),
        true => WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| SettingError::new("ssl.ca.location", error.to_string()))?,
    };
    Ok(Arc::new(verify::OrItself::new(verifier, certificates, settings.verify_host)))
}

/// The name of the setting that gave `pem`: `prefix` with `.location` or `.pem`.
fn setting_of(pem: &Pem, prefix: &str) -> String {
    match pem {
        Pem::File(_) => format!("{prefix}.location"),
        Pem::Text(_) => format!("{prefix}.pem"),
    }
}

fn read(pem: &Pem, prefix: &str) -> Result<zeroize::Zeroizing<Vec<u8>>, SettingError> {
    let bytes = match pem {
        Pem::Text(text) => text.expose().as_bytes().to_vec(),
        Pem::File(path) => std::fs::read(path).map_err(|error| {
            SettingError::new(setting_of(pem, prefix), format!("cannot read {path}: {error}"))
        })?,
    };
    Ok(bytes.into())
}

fn certificates(pem: &Pem, prefix: &str) -> Result<Vec<CertificateDer<'static>>, SettingError> {
    let bad = |reason: &str| SettingError::new(setting_of(pem, prefix), reason);
    let text = read(pem, prefix)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|_| bad("is not PEM: a section is cut off or has no base64 in it"))?;
    if certificates.is_empty() {
        return Err(bad("has no certificate in PEM (-----BEGIN CERTIFICATE-----)"));
    }
    Ok(certificates)
}
