//! Log lines on stderr, in logfmt or JSON. A thread of its own writes them, so that a reader that hangs stops nobody else.
//!
//! Keys come in the order `level`, `ts`, `caller`, `msg`, then the fields of the event, then those of
//! the spans around it, innermost first. A key is written once; the inner one wins.

mod format;
mod layer;
mod limit;
mod panics;
mod queue;

use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::set_global_default;
use tracing::{Level, Metadata};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

pub use limit::RateLimit;

use crate::self_tracing::TraceLayer;

use layer::LineLayer;
use queue::STDERR;

/// The end of the process waits this long for whoever reads stderr.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// How a log line is spelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `level=info ts=… caller=… msg="…"`.
    #[default]
    Logfmt,
    /// One JSON object a line, with the same keys.
    Json,
}

/// The least severe level that is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum LogLevel {
    /// Everything, once per request and more.
    Debug = 0,
    /// Changes of state.
    #[default]
    Info = 1,
    /// Unexpected, but it goes on.
    Warn = 2,
    /// A human must act.
    Error = 3,
}

impl LogLevel {
    const ALL: [Self; 4] = [Self::Debug, Self::Info, Self::Warn, Self::Error];

    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// The level in effect. There is one for the process, as there is one subscriber.
static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Info as u8);

/// The level at which this process logs now.
pub fn log_level() -> LogLevel {
    let level = usize::from(LEVEL.load(Ordering::Relaxed));
    LogLevel::ALL.get(level).copied().unwrap_or_default()
}

/// Changes the level of this process until it ends.
pub fn set_log_level(level: LogLevel) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    // Each place that logs remembers whether anybody wants its lines.
    tracing::callsite::rebuild_interest_cache();
}

/// Logging could not be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoggingError {
    /// The configured level is not one of debug, info, warn and error.
    #[error("unrecognized log level \"{0}\": expecting debug, info, warn or error")]
    UnknownLevel(String),
    /// The configured format is neither logfmt nor json.
    #[error("unrecognized log format \"{0}\"")]
    UnknownFormat(String),
    /// This process logs already.
    #[error("logging is already initialized")]
    AlreadyInitialized,
    /// The system gives no thread to write the lines.
    #[error("start a thread for log lines: {0}")]
    NoThread(String),
}

impl FromStr for LogLevel {
    type Err = LoggingError;

    fn from_str(text: &str) -> Result<Self, LoggingError> {
        let found = Self::ALL.into_iter().find(|level| level.as_str() == text);
        found.ok_or_else(|| LoggingError::UnknownLevel(text.to_owned()))
    }
}

impl FromStr for LogFormat {
    type Err = LoggingError;

    fn from_str(text: &str) -> Result<Self, LoggingError> {
        match text {
            "logfmt" => Ok(Self::Logfmt),
            "json" => Ok(Self::Json),
            other => Err(LoggingError::UnknownFormat(other.to_owned())),
        }
    }
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Info => Self::INFO,
            LogLevel::Warn => Self::WARN,
            LogLevel::Error => Self::ERROR,
        }
    }
}

/// Sends the `tracing` events of this process to stderr.
///
/// Events of other crates than ours are written from info on even when `level` is debug: HTTP/2
/// alone would drown the rest. Each of their call sites writes at most 10 lines every 10 seconds.
///
/// Whoever logs does not wait for the reader of stderr: a line that finds no room in a queue of 1 MiB is dropped and
/// counted in `tactus_log_lines_dropped_total`. Call [`flush_log`] before the process ends, or writes to stderr itself.
///
/// Errors: `AlreadyInitialized` on the second call; `NoThread`.
pub fn init_logging(format: LogFormat, level: LogLevel) -> Result<(), LoggingError> {
    init_logging_and_tracing(format, level, None)
}

/// As [`init_logging`], and records spans by the layer, if there is one.
pub fn init_logging_and_tracing(
    format: LogFormat,
    level: LogLevel,
    tracing: Option<TraceLayer>,
) -> Result<(), LoggingError> {
    let layer = LineLayer::new(format, |line: &str| STDERR.push(line));
    let layer = layer.with_filter(filter(log_level));
    let subscriber = Registry::default().with(layer);
    let done = match tracing {
        Some(tracing) => set_global_default(subscriber.with(tracing.with_filter(traced()))),
        None => set_global_default(subscriber),
    };
    done.map_err(|_| LoggingError::AlreadyInitialized)?;
    set_log_level(level);
    queue::start(format).map_err(|error| LoggingError::NoThread(error.to_string()))?;
    panics::set_up();
    Ok(())
}

/// Waits until all lines logged so far are on stderr, or for a second if whoever reads it hangs.
pub fn flush_log() {
    STDERR.wait(LAST_WAIT);
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("tactus")
}

/// What self-tracing sees: our spans down to debug, and our warnings within them.
pub(crate) fn traced() -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    let enabled = |metadata: &Metadata<'_>| {
        let limit = if metadata.is_span() { Level::DEBUG } else { Level::WARN };
        is_ours(metadata) && *metadata.level() <= limit
    };
    filter_fn(enabled).with_max_level_hint(LevelFilter::DEBUG)
}

fn filter(level: impl Fn() -> LogLevel) -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    let enabled = move |metadata: &Metadata<'_>| {
        let level = LevelFilter::from(level());
        let limit = match (is_ours(metadata), metadata.is_span()) {
            // A warning is worth its tenant and block, whose spans are of level info.
            (true, true) => level.max(LevelFilter::INFO),
            (true, false) => level,
            (false, _) => level.min(LevelFilter::INFO),
        };
        *metadata.level() <= limit
    };
    // The most that may ever be asked for: the level can change while the process runs.
    filter_fn(enabled).with_max_level_hint(LevelFilter::DEBUG)
}

#[cfg(test)]
mod tests;
