//! The limits on the work of queries: how much one may do, when it ends, and whose turn it is. Every loop that may take
//! long asks here.

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
