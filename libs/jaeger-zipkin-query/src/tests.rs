//! The APIs over a real querier and the sample blocks; recent data comes from a double of the ingester's protocol.

#[path = "../../query/src/tests/api.rs"]
#[expect(dead_code, reason = "the tests of tactus-query need more of it")]
mod api;
#[path = "../../query/src/tests/doubles.rs"]
#[expect(dead_code, reason = "the tests of tactus-query need more of it")]
mod doubles;
mod jaeger;
mod jaeger_grpc;
mod listeners;
mod zipkin;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use tactus_query::{Settings, router};
use tactus_server::tenancy::Tenancy;
use tower::ServiceExt as _;

use api::*;
