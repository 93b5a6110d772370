//! The errors of TLS settings.

/// A setting that cannot be used. The text names the key, and the file if there is one. It never contains the content
/// of a file or a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("{key}: {path}: {source}")]
    Read {
        /// The configuration key that names the file.
        key: String,
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The PEM is damaged, or has nothing of the required kind.
    #[error("{place}: {reason}")]
    Pem {
        /// Key, and file if there is one.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// Certificate, key or authorities do not match, or rustls rejects them.
    #[error("{section}: {reason}")]
    Certificates {
        /// The section of the configuration.
        section: String,
        /// What is wrong.
        reason: String,
    },
    /// A setting without a meaning.
    #[error("{section}: {reason}")]
    Setting {
        /// The section of the configuration.
        section: String,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    pub(crate) fn setting(section: &str, reason: impl Into<String>) -> Self {
        Self::Setting { section: section.to_owned(), reason: reason.into() }
    }

    pub(crate) fn certificates(section: &str, reason: impl Into<String>) -> Self {
        Self::Certificates { section: section.to_owned(), reason: reason.into() }
    }
}
