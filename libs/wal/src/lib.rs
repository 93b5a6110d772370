//! A write-ahead log: what is appended here before it is acknowledged comes back through [`Replay`] after a crash, or
//! is read through a [`Tail`] while the log is written.
//!
//! A log is a directory of numbered part files, `0000000000000042.wal`, plus `LOCK`, which one
//! process holds. A part is a sequence of frames `{len u32 LE, crc32c u32 LE, payload}` and nothing
//! else. Parts are released one by one, in any order, once their frames are kept elsewhere.
//!
//! Invariants:
//! - [`Wal::append`] returns only after the kernel has the whole frame: killing the process at any
//!   instant loses nothing acknowledged. What a machine crash may lose is set by
//!   [`Settings::fsync_interval`].
//! - The reverse does not hold: a frame that was never acknowledged (the process died, or the disk
//!   failed, between write and answer) may be replayed. Readers must tolerate repeated frames.
//! - A bad frame costs the rest of its part and never the start of the process.
//!
//! The log does not know what a payload means.
#![warn(missing_docs)]

mod directory;
mod error;
mod files;
mod frame;
mod log;
mod part;
mod position;
mod replay;
mod shared;
mod tail;

pub use error::{Error, Result};
pub use files::{Files, LogFile, SystemFiles};
pub use frame::Frame;
pub(crate) use frame::MAX_PAYLOAD_BYTES;
pub use log::Wal;
pub use position::{PartId, Position};
#[doc(hidden)]
pub use replay::fuzzing;
pub use replay::{DamagedPart, Replay, ReplayReport};
pub use shared::{PartInfo, Settings, Stats, Wait};
pub use tail::Tail;
