//! What is said about a key of a configuration file.

use crate::check::Remedy;

/// How a key is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It means the same.
    Honoured,
    /// It means the same under another name.
    Renamed,
    /// It has no effect.
    Ignored,
    /// Its default or meaning is another, or it looks like a mistake.
    Changed,
    /// There is no such key.
    Unknown,
    /// It stops the start.
    Refused,
}

impl Verdict {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Honoured => "honoured",
            Self::Renamed => "renamed",
            Self::Ignored => "ignored",
            Self::Changed => "changed",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
        }
    }
}

/// Something to say about a key of the tree as it is read.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    pub(crate) key: String,
    pub(crate) verdict: Verdict,
    pub(crate) text: String,
    pub(crate) remedy: Remedy,
    /// It holds for everything below the key.
    pub(crate) spreads: bool,
}

impl Note {
    pub(crate) fn new(
        key: impl Into<String>,
        verdict: Verdict,
        text: impl Into<String>,
        remedy: Remedy,
    ) -> Self {
        Self { key: key.into(), verdict, text: text.into(), remedy, spreads: false }
    }
}
