//! Authentication as a layer of routers.

use std::sync::Arc;

use ::http::Request;
use axum::Router;
use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use super::{Access, Authenticator};
use crate::listener::ConnectionInfo;

/// Puts authentication before the routes that `router` has so far; they all want the same access.
///
/// Health and public paths of the settings stay open. Handlers find the [`super::Caller`] in the extensions of
/// the request and its tenant in the headers, whether the client named it or not. `None`: no
/// authentication, the router as it is.
pub fn guard(router: Router, access: Access, authenticator: Option<&Arc<Authenticator>>) -> Router {
    match authenticator {
        Some(authenticator) if router.has_routes() => {
            let state = (Arc::clone(authenticator), access);
            router.route_layer(middleware::from_fn_with_state(state, check_http))
        }
        _ => router,
    }
}

/// Access by the beginning of the path: the first line that matches counts.
pub type GrpcAccess = &'static [(&'static str, Access)];

/// HTTP paths that probes ask for, and that everyone may have: `/health` of ports that have one, as
/// those of Zipkin.
const PUBLIC_HTTP: &[&str] = &["/health", "/zipkin/health"];

/// gRPC services that anyone may call.
pub const PUBLIC_GRPC: &str = "/grpc.health.v1.Health/";

/// The services that exist or may come. What no line names is for services of the cluster.
pub const STANDARD_GRPC: GrpcAccess = &[
    (PUBLIC_GRPC, Access::Public),
    ("/tempopb.StreamingQuerier/", Access::Read),
    ("/tempopb.Querier/", Access::Read),
    ("/grpc.reflection.", Access::Read),
    ("/jaeger.api_v2.QueryService/", Access::Read),
    ("/jaeger.api_v3.QueryService/", Access::Read),
    ("/jaeger.api_v2.CollectorService/", Access::Write),
    ("/opentelemetry.proto.collector.", Access::Write),
];

/// Puts authentication before all gRPC services of a router, by `table` (usually [`STANDARD_GRPC`]).
/// Refusals are gRPC statuses.
pub fn guard_grpc(
    router: Router,
    table: GrpcAccess,
    authenticator: Option<&Arc<Authenticator>>,
) -> Router {
    match authenticator {
        // Not `route_layer`: whether a method exists is not for everyone to know.
        Some(authenticator) => {
            let state = (Arc::clone(authenticator), table);
            router.layer(middleware::from_fn_with_state(state, check_grpc))
        }
        None => router,
    }
}

async fn check_http(
    State((authenticator, access)): State<(Arc<Authenticator>, Access)>,
    mut request: Request<Body>,
    next: Next,
) -> Response {
    // Below a prefix the path of the request lacks it.
    let original = request.extensions().get::<OriginalUri>();
    let path = original.map_or_else(|| request.uri().path(), |original| original.path());
    let is_public = PUBLIC_HTTP.contains(&path) || authenticator.is_public(path);
    let access = if is_public { Access::Public } else { access };
    match check(&authenticator, access, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

async fn check_grpc(
    State((authenticator, table)): State<(Arc<Authenticator>, GrpcAccess)>,
    mut request: Request<Body>,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let line = table.iter().find(|(start, _)| path.starts_with(start));
    let access = line.map_or(Access::Internal, |(_, access)| *access);
    match check(&authenticator, access, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.grpc_status().into_http(),
    }
}

async fn check(
    authenticator: &Authenticator,
    access: Access,
    request: &mut Request<Body>,
) -> Result<(), super::Refused> {
    let connection = request.extensions().get::<ConnectionInfo>().copied();
    let headers = request.headers_mut();
    if let Some(caller) = authenticator.check(access, headers, connection.as_ref()).await? {
        request.extensions_mut().insert(caller);
    }
    Ok(())
}
