//! A write-ahead log. What is appended here before it is acknowledged can be read back through [`Replay`] after a
//! crash, or through a [`Tail`] while the log is being written.
//!
//! A log is a directory of numbered part files, `0000000000000042.wal`, and the file `LOCK`, which one process holds. A
//! part consists of frames `{len u32 LE, crc32c u32 LE, payload}` and nothing else. Parts are released one by one, in
//! any order, once their frames are stored elsewhere.
//!
//! Invariants:
//! - [`Wal::append`] returns only after the kernel has the whole frame. So killing the process at any instant loses
//!   nothing that was acknowledged. [`Settings::fsync_interval`] determines what a machine crash may lose.
//! - The reverse does not hold: a frame that was never acknowledged may be replayed, if the process died or the disk
//!   failed between write and answer. Readers must tolerate repeated frames.
//! - A bad frame makes the rest of its part unreadable, but never keeps the process from starting.
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

pub use directory::{CURSOR_PREFIX, PART_NUMBER_LIMIT};
pub use error::{Error, Result, is_full};
pub use files::{Files, LogFile, SystemFiles, create_anew};
pub use frame::Frame;
pub use log::Wal;
pub use position::{PartId, Position};
#[doc(hidden)]
pub use replay::fuzzing;
pub use replay::{DamagedPart, Replay, ReplayReport};
pub use shared::{PartInfo, Settings, Stats, Wait};
pub use tail::Tail;
