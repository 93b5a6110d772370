//! What stops a start.

use crate::expand::ExpandError;

/// Why a configuration cannot be used. `Display` is the text for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A flag does not exist or has a bad value; `usage` lists the flags.
    #[error("{text}\n{usage}")]
    Flag {
        /// What is wrong, on one line.
        text: String,
        /// The list of flags.
        usage: String,
    },
    /// The file cannot be read.
    #[error("failed parsing config: failed to read configFile {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file's variables cannot be expanded.
    #[error("failed parsing config: failed to expand env vars from configFile {path}: {source}")]
    Expand {
        /// The file.
        path: String,
        /// What is wrong.
        source: ExpandError,
    },
    /// The file is not YAML, or has unknown keys, wrong types, keys that stand twice.
    #[error("failed parsing config: failed to parse configFile {path}: {cause}")]
    Parse {
        /// The file.
        path: String,
        /// All that was found, with lines.
        cause: String,
    },
    /// The values do not make sense together or name something that does not exist.
    #[error("invalid configuration: {0}")]
    Invalid(String),
}

impl Error {
    /// The exit code that scripts expect: 2 for flags, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Flag { .. } => 2,
            _ => 1,
        }
    }
}
