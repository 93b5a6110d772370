//! Caches that several processes share: memcached and redis, by role.
//!
//! ```text
//! get(keys) -> breaker, pool, timeout -> frames checked -> values; a failure is a miss
//! put(key)  -> bounded queue -> writers                  ; what does not fit is dropped
//! ```
//!
//! A cache may be slow, full or down, may hang, or hold foreign data. That costs time, and never changes an answer.
//! So a value is stored in a frame that names its key and carries a checksum, reads have a time limit, a server that
//! does not answer is not asked for a while, and no caller ever sees an error. A cached value must be a function of
//! its key alone, because nothing is ever invalidated.
#![warn(missing_docs)]

pub mod answer;
mod background;
mod breaker;
mod cache;
mod caches;
mod frame;
mod memcached;
mod metrics;
mod redis;
mod store;

pub use cache::Cache;
pub use caches::Caches;
pub use caches::Role;
pub use frame::Key;
pub use store::Error;
pub use store::Result;
