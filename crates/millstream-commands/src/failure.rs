//! What can keep a command from doing what it was asked, and what the user can do about it.

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The user's Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Standard output could not be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] std::io::Error),
    /// Some of several things failed, and each was told when it did.
    #[error("not everything could be done")]
    Told,
    /// Anything else: one sentence on what failed, one on what to do.
    #[error("{what}")]
    Failed {
        /// What failed.
        what: String,
        /// What the user can do.
        hint: Option<String>,
    },
}

impl CommandError {
    /// Something failed, and this is what to do about it.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), hint: Some(hint.into()) }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Failed { hint, .. } => hint.as_deref(),
            Self::Interrupted | Self::Output(_) | Self::Told => None,
        }
    }

    /// Writes it to standard error, what to do about it behind it.
    pub(crate) fn tell(&self) {
        eprintln!("error: {self}");
        if let Some(hint) = self.hint() {
            eprintln!("{hint}");
        }
    }
}
