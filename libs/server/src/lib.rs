//! Listeners, tenancy, authentication and the endpoints that every process has, whatever part of Tactus it runs.
//!
//! - [`listener`]: accept loop for HTTP/1.1 and HTTP/2, TLS, limits, draining on shutdown.
//! - [`auth`]: callers, their tenants and roles.
//! - [`addressee`]: refuses calls of other processes that are meant for another one.
//! - [`bodies`]: bounds the memory of requests, from the first byte, and of answers.
//! - [`cross_site`]: refuses requests that pages of other sites make browsers send.
//! - [`http`]: the main HTTP port: router, path cleaning, limits, request metrics, compression.
//! - [`grpc`]: the gRPC port, and [`health`], the standard health service.
//! - [`request_log`]: a log line for each request.
//! - [`tenancy`]: the tenant of a request, from `X-Scope-OrgID`.
//! - [`operational`]: `/ready`, `/metrics`, `/status/…`, `/api/echo`, `/api/status/buildinfo`.
//!
//! This crate knows no configuration file, no query and no storage: everything it shows comes from closures of the
//! caller.
#![warn(missing_docs)]

pub mod addressee;
pub mod auth;
pub mod bodies;
mod compression;
pub mod cross_site;
pub mod grpc;
pub mod health;
pub mod http;
pub mod listener;
pub mod observe;
pub mod operational;
pub mod request_log;
mod single_header;
pub mod tenancy;
#[cfg(test)]
mod testing;
mod text_answer;
