//! The sections of the file.

use crate::duration::GoDuration;

pub mod cache;
pub mod client;
pub mod compactor;
pub mod distributor;
pub mod generator;
pub mod ingester;
pub mod kafka;
pub mod memberlist;
pub mod object_store;
pub mod overrides;
pub mod querier;
pub mod query_apis;
pub mod query_frontend;
pub mod receivers;
pub mod remote_write;
pub mod ring;
pub mod root;
pub mod sampling;
pub mod server;
pub mod storage;
pub mod tail_sampling;

fn text(value: &str) -> String {
    value.to_owned()
}

fn list(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

const fn millis(count: i64) -> GoDuration {
    GoDuration::millis(count)
}

const fn seconds(count: i64) -> GoDuration {
    GoDuration::seconds(count)
}

const fn minutes(count: i64) -> GoDuration {
    GoDuration::minutes(count)
}

const fn hours(count: i64) -> GoDuration {
    GoDuration::hours(count)
}
