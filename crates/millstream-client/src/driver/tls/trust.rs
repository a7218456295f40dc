//! Which certificates are trusted.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{certificates, setting_of};
use crate::settings::{Pem, SettingError};

/// Certificates that are trusted, as they are and as roots of chains.
pub(in crate::driver) struct Trusted {
    pub(in crate::driver) certificates: Vec<CertificateDer<'static>>,
    pub(super) roots: RootCertStore,
}

impl Trusted {
    /// Those of `given`, or the system's. `setting` is the name of the settings without
    /// `.location` and `.pem`.
    ///
    /// # Errors
    /// The setting, if what it names cannot be read or has none.
    pub(in crate::driver) fn of(given: Option<&Pem>, setting: &str) -> Result<Self, SettingError> {
        match given {
            Some(given) => Self::read(given, setting),
            None => Self::system(setting),
        }
    }

    pub(super) fn read(given: &Pem, setting: &str) -> Result<Self, SettingError> {
        let name = setting_of(given, setting);
        let bad = |reason: String| SettingError::new(&*name, reason);
        let mut trusted = Self::none();
        match given {
            Pem::File(path) if Path::new(path).is_dir() => {
                // OpenSSL finds files by the hashes they are named after. Here all are read; what
                // is no certificate may lie beside them.
                let entries = std::fs::read_dir(path)
                    .map_err(|error| bad(format!("cannot read the folder {path}: {error}")))?;
                for file in entries.filter_map(Result::ok) {
                    if let Ok(text) = std::fs::read(file.path()) {
                        trusted
                            .add_all(CertificateDer::pem_slice_iter(&text).filter_map(Result::ok));
                    }
                }
                if trusted.certificates.is_empty() {
                    return Err(bad(format!("no file of the folder {path} has a PEM certificate")));
                }
            }
            given => {
                for certificate in certificates(given, setting)? {
                    trusted.add(certificate).map_err(|error| {
                        bad(format!("has a certificate that cannot be read: {error}"))
                    })?;
                }
            }
        }
        Ok(trusted)
    }

    fn system(setting: &str) -> Result<Self, SettingError> {
        let mut trusted = Self::none();
        trusted.add_all(rustls_native_certs::load_native_certs().certs);
        if trusted.certificates.is_empty() {
            return Err(SettingError::new(
                format!("{setting}.location"),
                "is not given, and the system has no certificates of authorities; install them (ca-certificates) or name a file",
            ));
        }
        Ok(trusted)
    }

    fn none() -> Self {
        Self { certificates: Vec::new(), roots: RootCertStore::empty() }
    }

    fn add(&mut self, certificate: CertificateDer<'static>) -> Result<(), rustls::Error> {
        self.roots.add(certificate.clone())?;
        self.certificates.push(certificate);
        Ok(())
    }

    /// Adds those that can be read.
    fn add_all(&mut self, certificates: impl IntoIterator<Item = CertificateDer<'static>>) {
        for certificate in certificates {
            let _ = self.add(certificate);
        }
    }
}
