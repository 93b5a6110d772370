//! Limits of tenants: the defaults, the operator's file, and what tenants set through the API.
//!
//! [`Overrides::of`] returns the limits in effect, and is fast enough for hot paths. [`Overrides::watch`] keeps them up
//! to date. [`http`] has the API for tenants, [`status::router`] shows the limits in effect.
//!
//! Precedence, lowest first: `overrides.defaults`; the tenant's entry in the file, or else its entry `*`, which
//! *replaces* the defaults; what the tenant set through the API, key by key.
#![warn(missing_docs)]

mod file;
pub mod http;
mod metrics;
mod of_limits;
mod overrides;
mod snapshot;
pub mod status;
mod user;

pub use of_limits::{LimitsOf, OfLimits};
pub use overrides::{Error, LimitsCheck, Overrides, Settings, Warnings};
