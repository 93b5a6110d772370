//! How much a query may do, when it ends, and whose turn it is: asked by every loop that may take long.
//!
//! ```text
//! async:   Slots    a tenant's next query, once it and all tenants together have room
//! threads: Gate     which of the queries that were let in work now, tenants in turn, a slice of time each
//! loops:   tick     cheap; now and then a look at the query's Work: client gone, time over, processor time used up
//! growth:  Held     what a query keeps of the data it meets, out of one budget of memory for all
//! ```

mod budgets;
mod gate;
mod held;
pub mod memory;
mod over;
mod slots;
mod work;

pub use budgets::{Budget, Budgets};
pub use gate::{Gate, Help, Line, TooManyBytes, Turn};
pub use held::Held;
pub use over::Over;
pub use slots::{Full, Slot, SlotLimits, Slots};
pub use work::{Stop, StopOnDrop, Work, end, is_over, thread_cpu_time, tick};
