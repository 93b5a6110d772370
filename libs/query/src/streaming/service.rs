//! The methods of the service.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::http::HeaderMap;
use tactus_api::metrics::{instant_response, range_response};
use tactus_api::request::{
    MetricsQuery, RequestedTag, SearchQuery, TagValuesQuery, TagsQuery, instant_params,
    parse_tag_v1, parse_tag_v2, range_params, search_params, tag_values_params, tags_params,
};
use tactus_api::{QueryParams, Result};
use tactus_model::TenantId;
use tactus_proto::tempopb::streaming_querier_server::StreamingQuerier;
use tactus_proto::tempopb::{
    QueryInstantRequest, QueryInstantResponse, QueryRangeRequest, QueryRangeResponse,
    SearchRequest, SearchResponse, SearchTagValuesRequest, SearchTagValuesResponse,
    SearchTagValuesV2Response, SearchTagsRequest, SearchTagsResponse, SearchTagsV2Response,
};
use tonic::{Request, Response, Status};

use super::{names_shown, values_shown};
use crate::frontend::{Frontend, within_time};
use crate::metrics::{METADATA, METRICS, SEARCH};
use crate::metrics_query::SeriesAnswer;
use crate::offload::offload;
use crate::progress::outlet::{Answers, Last, Outlet, start, status};
use crate::progress::{MetricsProgress, SearchProgress, Weight, packets};
use crate::query_line::QueryLine;
use crate::tags::{TagValuesAnswer, TagsAnswer};

/// The header in which a client says how long it waits.
const TIMEOUT: &str = "grpc-timeout";

/// `tempopb.StreamingQuerier` over a frontend.
#[derive(Debug)]
pub struct Streaming {
    frontend: Arc<Frontend>,
}

/// A call whose tenants are known.
pub(super) struct Call<R> {
    pub(super) frontend: Arc<Frontend>,
    pub(super) tenants: Vec<TenantId>,
    /// Of the request, if the log wants them.
    headers: HeaderMap,
    /// How long its client waits, if it says.
    pub(super) patience: Option<Duration>,
    /// Ends with the query.
    line: OnceLock<Option<QueryLine>>,
    pub(super) request: R,
}

type Streamed<M> = std::result::Result<Response<Answers<M>>, Status>;

impl Streaming {
    pub(crate) fn new(frontend: Arc<Frontend>) -> Self {
        Self { frontend }
    }

    pub(super) fn call<R>(&self, request: Request<R>) -> std::result::Result<Call<R>, Status> {
        let tenants = self.frontend.tenancy.read_tenants(request.metadata().as_ref());
        let tenants = tenants.map_err(|error| error.grpc_status())?;
        let frontend = Arc::clone(&self.frontend);
        let (metadata, _, request) = request.into_parts();
        let patience = metadata.get(TIMEOUT).and_then(|value| value.to_str().ok());
        let patience = patience.and_then(parse_timeout);
        let headers = match frontend.settings.section.log_query_request_headers.as_slice() {
            [] => HeaderMap::new(),
            _ => metadata.into_headers(),
        };
        Ok(Call { frontend, tenants, headers, patience, line: OnceLock::new(), request })
    }
}

impl<R> Call<R> {
    /// What the request asks for. `op`: see [`Frontend::parsed`]. `path`: of the same query over HTTP, for the list of denied ones.
    pub(super) async fn parse<Q: Send + 'static>(
        &self,
        op: &'static str,
        path: &str,
        params: Result<String>,
        parse: impl FnOnce(&QueryParams<'_>) -> Result<Q> + Send + 'static,
    ) -> std::result::Result<Q, Status> {
        let params = params.and_then(|params| {
            let url = format!("{path}?{params}");
            self.frontend.check_url(&url)?;
            self.line.get_or_init(|| {
                let wanted = &self.frontend.settings.section.log_query_request_headers;
                QueryLine::begin(wanted, &self.tenants, &url, &self.headers)
            });
            Ok(params)
        });
        let params = params.map_err(|error| status(&error))?;
        let parsed = self.frontend.parse_params(&self.tenants, &params, parse).await;
        let parsed = self.frontend.parsed(&self.tenants, op, parsed);
        parsed.map_err(|error| status(&error))
    }

    /// Starts the stream of a query.
    fn stream<M, F>(self, run: impl FnOnce(Self, Outlet<M>) -> F) -> Streamed<M>
    where
        M: Weight + 'static,
        F: Future<Output = Result<Last<M>>> + Send + 'static,
    {
        let every = self.frontend.settings.section.streaming_interval.as_std();
        let memory = Arc::clone(&self.frontend.memory);
        let (tenants, patience) = (self.tenants.clone(), self.patience);
        let run = |outlet| within_time(patience, run(self, outlet));
        Ok(Response::new(start(&tenants, every, &memory, run)))
    }

    fn packet_bytes(&self) -> usize {
        self.frontend.settings.section.max_grpc_streaming_packet_size
    }
}

#[tonic::async_trait]
impl StreamingQuerier for Streaming {
    type SearchStream = Answers<SearchResponse>;
    type SearchTagsStream = Answers<SearchTagsResponse>;
    type SearchTagsV2Stream = Answers<SearchTagsV2Response>;
    type SearchTagValuesStream = Answers<SearchTagValuesResponse>;
    type SearchTagValuesV2Stream = Answers<SearchTagValuesV2Response>;
    type MetricsQueryRangeStream = Answers<QueryRangeResponse>;
    type MetricsQueryInstantStream = Answers<QueryInstantResponse>;

    async fn search(&self, request: Request<SearchRequest>) -> Streamed<SearchResponse> {
        let call = self.call(request)?;
        let limits = call.frontend.settings.search_limits();
        let parse = move |params: &QueryParams<'_>| SearchQuery::parse(params, &limits);
        let query = call.parse(SEARCH, "/api/search", search_params(&call.request), parse).await?;
        call.stream(async move |call, outlet| {
            let bytes = call.packet_bytes();
            let progress = SearchProgress::new(outlet, bytes, true);
            let found = call.frontend.search_with(&call.tenants, &query, Some(progress)).await?;
            let is_long = found.is_long();
            let (response, _held) = (found.response, found.memory);
            let packets = offload(is_long, move || packets::search(response, bytes)).await?;
            Ok(Last { packets, partial: found.partial })
        })
    }

    async fn search_tags(
        &self,
        request: Request<SearchTagsRequest>,
    ) -> Streamed<SearchTagsResponse> {
        let call = self.call(request)?;
        let params = Ok(tags_params(&call.request));
        let query = call.parse(METADATA, "/api/search/tags", params, TagsQuery::parse).await?;
        let scope = query.scope;
        stream_tags(call, query, move |found, bytes| packets::tags_v1(found.into_v1(scope), bytes))
    }

    async fn search_tags_v2(
        &self,
        request: Request<SearchTagsRequest>,
    ) -> Streamed<SearchTagsV2Response> {
        let call = self.call(request)?;
        let params = Ok(tags_params(&call.request));
        let query = call.parse(METADATA, "/api/v2/search/tags", params, TagsQuery::parse).await?;
        stream_tags(call, query, |found, bytes| packets::tags_v2(found.into_v2(), bytes))
    }

    async fn search_tag_values(
        &self,
        request: Request<SearchTagValuesRequest>,
    ) -> Streamed<SearchTagValuesResponse> {
        let call = self.call(request)?;
        let name = call.request.tag_name.clone();
        let (path, params) = (format!("/api/search/tag/{name}/values"), &call.request);
        let query = call.parse(METADATA, &path, Ok(tag_values_params(params)), move |params| {
            Ok((parse_tag_v1(&name)?, TagValuesQuery::parse(params)?))
        });
        let query = query.await?;
        stream_values(call, query, false, |found, bytes| packets::values_v1(found.into_v1(), bytes))
    }

    async fn search_tag_values_v2(
        &self,
        request: Request<SearchTagValuesRequest>,
    ) -> Streamed<SearchTagValuesV2Response> {
        let call = self.call(request)?;
        let name = call.request.tag_name.clone();
        let (path, params) = (format!("/api/v2/search/tag/{name}/values"), &call.request);
        let query = call.parse(METADATA, &path, Ok(tag_values_params(params)), move |params| {
            Ok((parse_tag_v2(&name)?, TagValuesQuery::parse(params)?))
        });
        let query = query.await?;
        stream_values(call, query, true, |found, bytes| packets::values_v2(found.into_v2(), bytes))
    }

    async fn metrics_query_range(
        &self,
        request: Request<QueryRangeRequest>,
    ) -> Streamed<QueryRangeResponse> {
        let call = self.call(request)?;
        let limits = call.frontend.metrics_limits(&call.tenants);
        let query = call.parse(
            METRICS,
            "/api/metrics/query_range",
            range_params(&call.request),
            move |params| MetricsQuery::parse_range(params, &limits, tactus_clock::unix_nanos()),
        );
        let query = query.await?;
        call.stream(async move |call, outlet| {
            let bytes = call.packet_bytes();
            let progress = MetricsProgress::of_range(&query.root, outlet, bytes);
            last_series(
                call,
                query,
                progress,
                move |SeriesAnswer { answer, grid, facts, .. }| {
                    packets::range(range_response(answer, &grid, facts), bytes)
                },
            )
            .await
        })
    }

    async fn metrics_query_instant(
        &self,
        request: Request<QueryInstantRequest>,
    ) -> Streamed<QueryInstantResponse> {
        let call = self.call(request)?;
        let limits = call.frontend.metrics_limits(&call.tenants);
        let params = Ok(instant_params(&call.request));
        let query = call.parse(METRICS, "/api/metrics/query", params, move |params| {
            MetricsQuery::parse_instant(params, &limits, tactus_clock::unix_nanos())
        });
        let query = query.await?;
        call.stream(async move |call, outlet| {
            let bytes = call.packet_bytes();
            let progress = MetricsProgress::of_instant(&query.root, outlet, bytes);
            last_series(call, query, progress, move |SeriesAnswer { answer, facts, .. }| {
                packets::instant(instant_response(answer, facts), bytes)
            })
            .await
        })
    }
}

/// The value of the header [`TIMEOUT`]: up to eight digits and a unit. `None` for anything else.
fn parse_timeout(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let digits = text.strip_suffix(unit)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_secs(number * 3600)),
        'M' => Some(Duration::from_secs(number * 60)),
        'S' => Some(Duration::from_secs(number)),
        'm' => Some(Duration::from_millis(number)),
        'u' => Some(Duration::from_micros(number)),
        'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Streams tag names. `make` puts them into packets of this many bytes.
fn stream_tags<M: Weight + 'static>(
    call: Call<SearchTagsRequest>,
    query: TagsQuery,
    make: impl Fn(TagsAnswer, usize) -> Vec<M> + Copy + Send + Sync + 'static,
) -> Streamed<M> {
    call.stream(async move |call, outlet| {
        let bytes = call.packet_bytes();
        let observer = names_shown(outlet, move |found| make(found, bytes));
        let found = call.frontend.tags_with(&call.tenants, &query, Some(observer)).await?;
        Ok(Last { partial: found.partial, packets: make(found, bytes) })
    })
}

/// Streams tag values. `make` puts them into packets of this many bytes.
fn stream_values<M: Weight + 'static>(
    call: Call<SearchTagValuesRequest>,
    (tag, query): (RequestedTag, TagValuesQuery),
    typed: bool,
    make: impl Fn(TagValuesAnswer, usize) -> Vec<M> + Copy + Send + Sync + 'static,
) -> Streamed<M> {
    call.stream(async move |call, outlet| {
        let bytes = call.packet_bytes();
        let observer = values_shown(outlet, move |found| make(found, bytes));
        let values =
            call.frontend.tag_values_with(&call.tenants, &tag, &query, typed, Some(observer));
        let found = values.await?;
        Ok(Last { partial: found.partial, packets: make(found, bytes) })
    })
}

/// The complete answer to a metrics query.
async fn last_series<R, M: Weight + 'static>(
    call: Call<R>,
    query: MetricsQuery,
    progress: MetricsProgress,
    make: impl FnOnce(SeriesAnswer) -> Vec<M> + Send + 'static,
) -> Result<Last<M>> {
    let found = call.frontend.query_metrics_with(&call.tenants, &query, Some(progress)).await?;
    let partial = found.partial;
    let packets = found.written(&call.frontend.memory, make).await?;
    Ok(Last { packets, partial })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_a_unit_and_anything_else_is_none() {
        for (text, nanos) in [
            ("2H", 7_200_000_000_000),
            ("3M", 180_000_000_000),
            ("4S", 4_000_000_000),
            ("5m", 5_000_000),
            ("6u", 6_000),
            ("7n", 7),
            ("0S", 0),
            ("99999999n", 99_999_999),
        ] {
            assert_eq!(parse_timeout(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for text in ["", "S", "5", "5s", "-5S", "+5S", "1.5S", "5 S", "100000000S", "5\u{b5}"] {
            assert_eq!(parse_timeout(text), None, "{text}");
        }
    }
}
