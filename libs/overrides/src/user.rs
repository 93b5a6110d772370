//! Limits that tenants set themselves: the document, its rules, and where it is stored in the bucket.

mod convert;
mod document;
mod duration;
mod merge;
pub(crate) mod store;
mod validate;

pub(crate) use document::UserLimits;
pub(crate) use merge::{conflicts, merge};
pub(crate) use validate::validate;
