//! Certificates for a test, made by the program `openssl`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// An authority and what it has signed, in files of a folder.
pub(super) struct Authority {
    dir: PathBuf,
    name: String,
}

fn openssl(arguments: &[&str]) {
    let done = Command::new("openssl").args(arguments).output().expect("`openssl` can be run");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "openssl {arguments:?}: {said}");
}

impl Authority {
    /// A new authority with files of that name.
    pub(super) fn new(dir: &Path, name: &str) -> Self {
        let authority = Self { dir: dir.to_owned(), name: name.to_owned() };
        let (key, certificate) = (authority.key(name), authority.certificate(name));
        let subject = format!("/CN={name}");
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            text(&key),
            "-out",
            text(&certificate),
            "-subj",
            &subject,
            "-days",
            "2",
        ]);
        authority
    }

    /// Signs a certificate for somebody; from which day on (counted from now) and for how many.
    pub(super) fn sign(&self, file: &str, subject: &str, valid: (&str, &str)) {
        let (key, certificate) = (self.key(file), self.certificate(file));
        let request = self.dir.join(format!("{file}.csr"));
        openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            text(&key),
            "-out",
            text(&request),
            "-subj",
            subject,
        ]);
        let extensions = self.dir.join(format!("{file}.ext"));
        std::fs::write(
            &extensions,
            "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n",
        )
        .unwrap();
        let database = self.dir.join(format!("{file}.db"));
        std::fs::write(&database, "").unwrap();
        let settings = self.dir.join(format!("{file}.cnf"));
        std::fs::write(
            &settings,
            format!(
                "[ca]\ndefault_ca=d\n[d]\ndatabase={}\nnew_certs_dir={}\nrand_serial=yes\n\
                 default_md=sha256\npolicy=p\nstring_mask=utf8only\n\
                 [p]\ncommonName=supplied\norganizationName=optional\n",
                text(&database),
                text(&self.dir)
            ),
        )
        .unwrap();
        let (from, to) = valid;
        openssl(&[
            "ca",
            "-batch",
            "-config",
            text(&settings),
            "-notext",
            "-preserveDN",
            "-keyfile",
            text(&self.key(&self.name)),
            "-cert",
            text(&self.certificate(&self.name)),
            "-in",
            text(&request),
            "-out",
            text(&certificate),
            "-startdate",
            from,
            "-enddate",
            to,
            "-extfile",
            text(&extensions),
        ]);
    }

    pub(super) fn key(&self, file: &str) -> PathBuf {
        self.dir.join(format!("{file}.key"))
    }

    pub(super) fn certificate(&self, file: &str) -> PathBuf {
        self.dir.join(format!("{file}.pem"))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary folder's name is UTF-8")
}
