//! Refuses calls of other processes that are meant for another one.
//!
//! The address of a process that died without a goodbye may soon be that of another, of this cluster or of a different one.
//! Whoever has not noticed the death still calls the dead process there. Its spans must not be stored by the other, nor must the
//! other's spans be taken for its own. So a call says whom it is meant for.

use std::sync::Arc;

use ::http::{HeaderMap, HeaderValue, Request};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::middleware::{self, Next};
use axum::response::Response;
use tactus_proto::{CLUSTER_HEADER, INSTANCE_HEADER};
use tonic::Status;

use crate::listener::ConnectionInfo;

const OTHER_CLUSTER: &str =
    "this address is now that of a process with another memberlist.cluster_label";
const OTHER_INSTANCE: &str =
    "this address is now that of another process than the instance that is meant";

/// Who a process is to the processes that call it.
#[derive(Debug, Clone, Default)]
pub struct Addressee {
    /// Label of its cluster; `None`: calls with any label are taken.
    pub cluster: Option<String>,
    /// Names of the instances of rings that it is.
    pub instances: Vec<String>,
}

impl Addressee {
    /// Why a call is not for this process. Older processes do not say whom they mean: their calls are taken.
    fn refusal(&self, headers: &HeaderMap) -> Option<&'static str> {
        let asked = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
        if let (Some(own), Some(asked)) = (&self.cluster, asked(CLUSTER_HEADER))
            && own.as_bytes() != asked
        {
            return Some(OTHER_CLUSTER);
        }
        let asked = asked(INSTANCE_HEADER)?;
        let is_own = self.instances.iter().any(|own| own.as_bytes() == asked);
        (!is_own).then_some(OTHER_INSTANCE)
    }
}

/// Has the internal services of a router answer only calls that are meant for this process. Others get UNAVAILABLE before
/// anything of their body is read.
pub fn refuse_others(router: Router, addressee: Arc<Addressee>) -> Router {
    router.layer(middleware::from_fn_with_state(addressee, check))
}

async fn check(
    State(addressee): State<Arc<Addressee>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let is_internal = request.uri().path().starts_with("/tactus.");
    let refusal = addressee.refusal(request.headers()).filter(|_| is_internal);
    let Some(refusal) = refusal else { return next.run(request).await };
    let connection = request.extensions().get::<ConnectionInfo>();
    let caller = connection.map(|connection| connection.client.to_string());
    let call = request.uri().path();
    tactus_telemetry::log_limited!(
        warn,
        call,
        caller,
        "refused a call that is meant for another process: {refusal}"
    );
    Status::unavailable(refusal).into_http()
}

#[cfg(test)]
mod tests {
    use tactus_telemetry::metrics::Registry;
    use tokio::sync::watch;
    use tonic::Code;
    use tonic::service::Routes;

    use super::*;
    use crate::grpc;
    use crate::health::health_service;
    use crate::observe::RequestMetrics;
    use crate::testing::ask;

    const INTERNAL: &str = "/tactus.v1.Ingester/Search";

    /// The status of a call with these headers. Nothing is behind the internal path, so UNIMPLEMENTED shows that it was let
    /// through.
    async fn status(addressee: Addressee, path: &str, headers: &[(&str, &str)]) -> Status {
        let services = grpc::services(Routes::new(health_service(watch::channel(true).1)));
        let router = refuse_others(services, Arc::new(addressee));
        let router = grpc::observed(router, RequestMetrics::register(&Registry::new()));
        let mut call = Request::post(path);
        for (name, value) in headers {
            call = call.header(*name, *value);
        }
        let (_, headers, _) = ask(&router, call.body(Body::empty()).unwrap()).await;
        Status::from_header_map(&headers).expect("a status")
    }

    fn of(label: Option<&str>) -> Addressee {
        let instances = vec!["ring/a".to_owned(), "generators/g".to_owned()];
        Addressee { cluster: label.map(str::to_owned), instances }
    }

    #[tokio::test]
    async fn call_for_another_cluster_or_instance_is_refused() {
        let (cluster, instance) = (CLUSTER_HEADER, INSTANCE_HEADER);
        for (own, headers, expected) in [
            (Some("prod"), &[(cluster, "prod")][..], None),
            (Some("prod"), &[(cluster, "staging")], Some(OTHER_CLUSTER)),
            (Some("prod"), &[(cluster, "")], Some(OTHER_CLUSTER)),
            (Some(""), &[(cluster, "")], None),
            (Some(""), &[(cluster, "prod")], Some(OTHER_CLUSTER)),
            (None, &[(cluster, "prod")], None),
            // Of an older process.
            (Some("prod"), &[], None),
            (Some("prod"), &[(cluster, "prod"), (instance, "ring/a")], None),
            (Some("prod"), &[(instance, "generators/g")], None),
            (Some("prod"), &[(cluster, "prod"), (instance, "ring/b")], Some(OTHER_INSTANCE)),
            (Some("prod"), &[(cluster, "prod"), (instance, "ring/g")], Some(OTHER_INSTANCE)),
            (Some("prod"), &[(cluster, "other"), (instance, "ring/a")], Some(OTHER_CLUSTER)),
        ] {
            let status = status(of(own), INTERNAL, headers).await;
            let text = expected.unwrap_or_default();
            let code = if expected.is_some() { Code::Unavailable } else { Code::Unimplemented };
            assert_eq!((status.code(), status.message()), (code, text), "{own:?} {headers:?}");
        }
    }

    #[tokio::test]
    async fn services_for_clients_do_not_look_at_whom_a_call_is_meant_for() {
        let headers = [(CLUSTER_HEADER, "staging"), (INSTANCE_HEADER, "ring/b")];
        let status = status(of(Some("prod")), "/grpc.health.v1.Health/Nothing", &headers).await;
        assert_eq!(status.code(), Code::Unimplemented);
    }
}
