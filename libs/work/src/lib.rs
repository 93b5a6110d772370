//! Limits on the work of queries: how much processor time and memory a query may take, when it must end, and which
//! query's turn it is. Every loop that may take long asks here. [`turns`] are for what tenants push.

mod budgets;
mod end_reason;
mod gate;
mod held;
pub mod memory;
mod slots;
pub mod turns;
mod work;

pub use budgets::{Budget, Budgets};
pub use end_reason::Over;
pub use gate::{Gate, Line, Panicked, Run, Task, TooManyBytes, Turn};
pub use held::Held;
pub use slots::{Full, JOBS_PER_SLOT, MOST_NEWCOMERS, Slot, SlotLimits, Slots};
pub use work::{Stop, StopOnDrop, UNITS_OF_WRITTEN_SPAN, Waiting, Work, end, is_over, tick};
