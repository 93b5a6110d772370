//! The errors of commands.

use std::io;

/// Result with this program's [`Error`].
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command failed. The user sees its text and those of its causes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Arguments that are valid one by one, but contradict each other.
    #[error("{0}")]
    Usage(String),
    /// A problem with the configuration file or with the machine.
    #[error("{0}")]
    Setup(String),
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] tactus_config::Error),
    /// The bucket.
    #[error(transparent)]
    Storage(#[from] tactus_storage::Error),
    /// The data of a block.
    #[error("block {block}")]
    Block {
        /// Its id.
        block: String,
        source: tactus_block::Error,
    },
    /// Blocks could not be rewritten.
    #[error(transparent)]
    Rewrite(#[from] tactus_compaction::Error),
    /// A deletion or redaction.
    #[error(transparent)]
    Job(#[from] tactus_block_lifecycle::Error),
    /// Something asked for does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The server, or the query engine in this process, refuses a request.
    #[error("{status}: {text}")]
    Answer {
        /// HTTP status.
        status: http::StatusCode,
        /// Its explanation.
        text: String,
    },
    /// The server cannot be reached.
    #[error("ask {url}")]
    Request { url: String, source: reqwest::Error },
    /// The server did not accept a trace.
    #[error("push to {url}")]
    Push { url: String, source: Failure },
    /// An answer does not have the form that the API defines.
    #[error("the answer is not understood: {0}")]
    Malformed(String),
    /// Standard output.
    #[error("write the output")]
    Output(#[source] io::Error),
}

/// Why a request was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The server refused it; the text is its reason.
    #[error("refused: {0}")]
    Refused(String),
    /// No answer came, or the answer says that the server failed.
    #[error("failed: {0}")]
    Failed(String),
}

impl Error {
    /// 2 for wrong arguments, whether this program or the server found them wrong; otherwise 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Answer { status, .. } if *status == http::StatusCode::BAD_REQUEST => 2,
            _ => 1,
        }
    }

    /// True if the store does not answer now, so that further requests would probably fail as well.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Storage(error) => error.is_retryable(),
            Self::Rewrite(error) => error.is_retryable(),
            Self::Block { source, .. } => {
                stored(source).is_some_and(tactus_storage::Error::is_retryable)
            }
            _ => false,
        }
    }

    /// An error in the data of a block.
    pub(crate) fn block(block: tactus_storage::Uuid, source: tactus_block::Error) -> Self {
        Self::Block { block: block.to_string(), source }
    }

    /// A background thread panicked, which is a bug of this program.
    pub(crate) fn thread(error: tokio::task::JoinError) -> Self {
        Self::Setup(format!("a worker thread failed: {error}"))
    }
}

/// The bucket's error behind one of a block, if it has one.
pub(crate) fn stored(error: &tactus_block::Error) -> Option<&tactus_storage::Error> {
    match error {
        tactus_block::Error::Io(error) => error.get_ref()?.downcast_ref(),
        tactus_block::Error::Bloom(error) => Some(error),
        _ => None,
    }
}
