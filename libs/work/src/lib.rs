//! How much work a query may do, when it ends, and whose turn it is. Every loop that may take long asks here.
//!
//! ```text
//! async:   Slots    admit a tenant's next query once the tenant and all tenants together have room
//! threads: Gate     which of the admitted queries work now: tenants take turns, a slice of time each
//! loops:   tick     cheap; now and then it checks the query's Work: client gone, deadline passed, CPU time used up
//! growth:  Held     the memory that a query holds, out of one budget for all queries
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
pub use work::{Stop, StopOnDrop, UNITS_OF_WRITTEN_SPAN, Work, end, is_over, tick};
