//! `api`: what `trace` and `query` do on a bucket, asked of a server.

use super::traces::{self, Form};
use crate::arguments::Api;
use crate::client::Client;
use crate::error::Result;
use crate::output::Output;
use crate::progress;

pub(super) async fn run(command: Api, output: &Output) -> Result<()> {
    let (server, path, form) = match &command {
        Api::Trace { server, trace_id } => {
            (server, traces::trace_path(traces::parse_id(trace_id)?), Form::Trace)
        }
        Api::Search { server, query } => (server, traces::search_path(query, false), Form::Search),
        Api::Metrics { server, query } => {
            (server, traces::metrics_path(query, false), Form::Metrics)
        }
    };
    let client = Client::new(server)?;
    let spinner = progress::spinner("waiting for the server");
    let answer = client.get(&path).await;
    spinner.finish_and_clear();
    traces::show(&answer?, form, output)
}
