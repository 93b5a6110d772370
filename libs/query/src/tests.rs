//! The API over a real querier and the sample blocks; recent data comes from a double of the ingester's protocol.

mod api;
mod cancellation;
mod combined;
pub(crate) mod doubles;
mod errors;
mod explain;
mod limits;
mod mcp;
mod metrics;
mod metrics_jobs;
mod partial;
mod replicas;
mod results;
mod search;
mod service_graph;
mod serving_threads;
mod stored;
mod streaming;
mod tags;
mod tail_sampling;
mod trace_files;
mod traces;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, StatusCode};
use tactus_config::sections::overrides::Limits;
use tactus_server::tenancy::Tenancy;
use tactus_storage::{BlockMeta, Blocklist, Uuid};

use crate::Settings;
use api::*;
use doubles::BlockData;

/// What a query asks does not depend on what runs already.
fn one_job_at_a_time() -> Settings {
    let mut settings = Settings::default();
    settings.section.search.concurrent_jobs = 1;
    settings
}

/// Blocks as a request of an ingester names them.
fn stored_ids(blocks: &[&str]) -> Bytes {
    blocks.iter().flat_map(|id| *Uuid::parse_str(id).unwrap().as_bytes()).collect()
}
