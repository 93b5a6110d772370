//! Runs the server's query engine in this process, over the blocks of a bucket.
//!
//! The query-frontend and the querier are those of a server, and answer the same requests. But there is no recent data, and
//! there are no limits that protect tenants from each other.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::Request as HttpRequest;
use http_body_util::BodyExt as _;
use tactus_config::GoDuration;
use tactus_config::sections::overrides::{Limits, ReadLimits};
use tactus_proto::tactus::v1::{self as messages, ingester_server::Ingester};
use tactus_query::{Frontend, Parts, Settings};
use tactus_query_jobs::Querier;
use tactus_server::tenancy::{TENANT_HEADER, Tenancy};
use tactus_storage::Bucket;
use tactus_telemetry::metrics::Registry;
use tonic::{Request, Response, Status};
use tower::ServiceExt as _;

use crate::bucket::Blocks;
use crate::client::Answer;
use crate::error::{Error, Result};

/// A query may take long here, because no other query waits for it.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// A query engine over the blocks of one tenant.
#[derive(Debug)]
pub(crate) struct Engine {
    router: Router,
    tenant: String,
}

impl Engine {
    /// An engine over the live ones of these blocks.
    pub(crate) fn new(bucket: Bucket, tenant: &str, blocks: &Blocks) -> Self {
        let blocklist = blocks.blocklist(tenant);
        let registry = Registry::new();
        let mut querier = tactus_query_jobs::Settings::default();
        querier.section.search.query_timeout = LONG.into();
        querier.section.trace_by_id.query_timeout = LONG.into();
        let querier = Querier::new(querier, bucket, Arc::clone(&blocklist), &registry);
        // Zero means no limit.
        let read = ReadLimits { unsafe_query_hints: true, ..ReadLimits::default() };
        let limits = Arc::new(Limits { read, ..Limits::default() });
        let frontend = Frontend::new(
            Parts {
                settings: settings(),
                tenancy: Tenancy::by_header(false),
                limits: Arc::new(move |_| Arc::clone(&limits)),
                ingester: Arc::new(NoRecentData),
                querier: Arc::new(querier),
                blocklist,
            },
            &registry,
        );
        Self { router: tactus_query::router(frontend), tenant: tenant.to_owned() }
    }

    /// The answer to a request of the query API: a path with its parameters.
    pub(crate) async fn get(&self, path_and_query: &str) -> Result<Answer> {
        let request = HttpRequest::get(path_and_query)
            .header(TENANT_HEADER, &self.tenant)
            .body(Body::empty())
            .map_err(|error| Error::Usage(error.to_string()))?;
        // The router itself cannot fail: its error type has no values.
        let Ok(response) = self.router.clone().oneshot(request).await;
        let (head, body) = response.into_parts();
        let body: Bytes =
            body.collect().await.map_err(|error| Error::Malformed(error.to_string()))?.to_bytes();
        Answer::new(head.status, &head.headers, body, "some blocks could not be read")
    }
}

fn settings() -> Settings {
    // Compacted blocks are never read here.
    let mut settings = Settings { blocklist_poll: Duration::ZERO, ..Settings::default() };
    settings.section.search.max_result_limit = 0;
    settings.section.search.max_duration = GoDuration::ZERO;
    settings.section.metrics.max_duration = GoDuration::ZERO;
    settings.section.metrics.max_series_bytes = 1 << 30;
    settings
}

/// An ingester that holds nothing.
struct NoRecentData;

macro_rules! answer_nothing {
    (
        querier: Querier {} { $($job_on_blocks:tt)* }
        ingester: Ingester { push(PushRequest) -> PushResponse } {
            $($kind:ident: $method:ident($request:ident) -> $answer:ident, $route:literal, $tenant:expr;)*
        }
    ) => {
        #[tonic::async_trait]
        impl Ingester for NoRecentData {
            async fn push(
                &self,
                _: Request<messages::PushRequest>,
            ) -> Result<Response<messages::PushResponse>, Status> {
                Err(Status::unimplemented("nothing is stored here"))
            }

            $(async fn $method(
                &self,
                _: Request<messages::$request>,
            ) -> Result<Response<messages::$answer>, Status> {
                Ok(Response::new(messages::$answer::default()))
            })*
        }
    };
}

tactus_rpc::for_all_jobs!(answer_nothing);
