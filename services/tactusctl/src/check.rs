//! `check`: writes traces of known content to a server, reads them back, and says what is missing or wrong.
//!
//! - `content`: what a trace holds, a function of seed, tenant and time slot alone; `random` and `written` are its parts:
//!   pseudo-random numbers, and the set of slots whose traces a server has acknowledged.
//! - `server`: requests, with credentials and TLS. `queries`, `compare`: four questions about a trace and what is expected;
//!   `history`: what the server tells of traces of earlier processes.
//! - `continuous`: the tasks of a process that goes on; `once`: a single round.

pub(crate) mod compare;
pub(crate) mod content;
pub(crate) mod continuous;
pub(crate) mod history;
pub(crate) mod metrics;
pub(crate) mod once;
pub(crate) mod page;
pub(crate) mod problem;
pub(crate) mod queries;
pub(crate) mod random;
pub(crate) mod server;
pub(crate) mod written;
