//! Limits of tenants: the defaults, the operator's file, and what tenants set by the API.
//!
//! [`Overrides::of`] returns the limits in effect; it is made for hot paths. [`Overrides::watch`]
//! keeps them current. [`http::router`] is the API for tenants, [`status::router`] shows the limits in effect.
//!
//! Precedence, weakest first: `overrides.defaults`; the tenant's entry of the file, or its entry `*`,
//! which *replaces* the defaults; what the tenant set by the API, key by key.
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
pub use overrides::{Error, LimitsCheck, Overrides, Settings};
pub use user::{
    UserCostAttribution, UserDimensionMapping, UserFilterPolicy, UserGenerator, UserHostInfo,
    UserLimits, UserMatchAttribute, UserPolicyMatch, UserProcessor, UserServiceGraphs,
    UserSpanMetrics,
};
