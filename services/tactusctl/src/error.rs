//! The errors of commands.

use std::io;

/// Result with this program's [`Error`].
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command fails; its text, with its causes, is what the user sees.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Arguments that fit the syntax and make no sense together.
    #[error("{0}")]
    Usage(String),
    /// The configuration file, or the machine.
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
    /// Blocks could not be written anew.
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
    /// The server does not take a trace.
    #[error("push to {url}")]
    Push { url: String, source: Failure },
    /// An answer that is not what the API promises.
    #[error("the answer is not understood: {0}")]
    Malformed(String),
    /// Standard output.
    #[error("write the output")]
    Output(#[source] io::Error),
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The server says no, and why.
    #[error("refused: {0}")]
    Refused(String),
    /// There is no answer, or it says that the server failed.
    #[error("failed: {0}")]
    Failed(String),
}

impl Error {
    /// 2 for wrong arguments, whoever finds them wrong, else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Answer { status, .. } if *status == http::StatusCode::BAD_REQUEST => 2,
            _ => 1,
        }
    }

    /// The data of a block failed.
    pub(crate) fn block(block: tactus_storage::Uuid, source: tactus_block::Error) -> Self {
        Self::Block { block: block.to_string(), source }
    }

    /// A background thread died: a defect of this program.
    pub(crate) fn thread(error: tokio::task::JoinError) -> Self {
        Self::Setup(format!("a worker thread failed: {error}"))
    }
}
