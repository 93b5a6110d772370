//! Readiness and status pages of the process.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn, map_response},
    response::Response,
};
use http::{
    HeaderValue, Version,
    header::{CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_FRAME_OPTIONS},
};
use parking_lot::Mutex;

use crate::{ReadyCheck, VERSION};
use tactus_config::Config;
use tactus_server::operational::{
    BuildInfo, ConfigSource, ConfigView, Operational, ServiceState, ServiceStatus,
};
use tactus_telemetry::metrics::Registry;

/// States of the services, shown by the endpoints.
#[derive(Debug, Clone, Default)]
pub(crate) struct States {
    services: Arc<Mutex<Vec<ServiceStatus>>>,
    stopping: Arc<AtomicBool>,
}

impl States {
    pub(crate) fn set(&self, name: &'static str, state: ServiceState) {
        let mut services = self.services.lock();
        match services.iter_mut().find(|service| service.name == name) {
            Some(service) => service.state = state,
            None => services.push(ServiceStatus { name, state }),
        }
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    fn list(&self) -> Vec<ServiceStatus> {
        self.services.lock().clone()
    }
}

/// Connections of HTTP/1.1 close with their next answer once the process is told to stop: clients and load balancers come
/// back elsewhere, while this one still waits for them to notice (`shutdown_delay`).
pub(crate) fn closing_at_the_end(router: Router, states: &States) -> Router {
    let stopping = Arc::clone(&states.stopping);
    router.layer(from_fn(move |request: Request, next: Next| {
        let stopping = Arc::clone(&stopping);
        async move {
            let is_reused = request.version() <= Version::HTTP_11;
            let mut response = next.run(request).await;
            if is_reused && stopping.load(Ordering::Acquire) {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }))
}

/// Pages of these routes have buttons that change rings: no page of another site may show one in a frame, where a visitor
/// clicks on it without knowing.
pub(crate) fn never_in_frames(router: Router) -> Router {
    router.layer(map_response(refuse_frames))
}

async fn refuse_frames(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let is_page =
        headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if is_page {
        let policy = HeaderValue::from_static("frame-ancestors 'none'");
        headers.insert(CONTENT_SECURITY_POLICY, policy);
        // For browsers that do not know the policy.
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    response
}

fn build_info(config: &Config) -> BuildInfo {
    BuildInfo {
        version: config.server.compatible_version.clone(),
        revision: VERSION.to_owned(),
        branch: "tactus".to_owned(),
        compiler: "rust".to_owned(),
        ..BuildInfo::default()
    }
}

/// What `-version` prints: the first line and the indented ones of Prometheus programs, whose readers look for both.
pub(crate) fn version_text() -> String {
    let BuildInfo { version, build_user, build_date, compiler, .. } =
        build_info(&Config::default());
    let platform = format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH);
    format!(
        "tactus, version {VERSION} (branch: , revision: )\n  \
         build user:       {build_user}\n  \
         build date:       {build_date}\n  \
         go version:       {compiler}\n  \
         platform:         {platform}\n  \
         tags:             \n  \
         compatible with:  Tempo {version}\n"
    )
}

/// Exports the version as a metric.
pub(crate) fn register_build_info(config: &Config, registry: &Registry) {
    let build = registry.gauge_vec(
        "tempo_build_info",
        "Always 1; the labels tell the version.",
        ["branch", "goarch", "goos", "goversion", "revision", "tags", "version"],
    );
    let BuildInfo { branch, compiler, revision, version, .. } = &build_info(config);
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let os = std::env::consts::OS;
    build.with([branch, arch, os, compiler, revision, "", version]).set(1.0);
}

/// Everything that the operational endpoints show.
pub(crate) fn state(
    config: &Config,
    states: &States,
    endpoints: Vec<String>,
    checks: Vec<ReadyCheck>,
    runtime_config: ConfigSource,
) -> Operational {
    let effective = tactus_config::to_yaml(config);
    let diff = tactus_config::to_yaml_diff(config);
    let (stopping, services) = (states.clone(), states.clone());
    Operational {
        build: build_info(config),
        is_stopping: Arc::new(move || stopping.stopping.load(Ordering::Acquire)),
        services: Arc::new(move || services.list()),
        component_ready: Arc::new(move || checks.iter().try_for_each(|check| check())),
        metrics: Arc::new(|accept| Registry::global().page(accept)),
        endpoints,
        config: Arc::new(move |view| match view {
            ConfigView::Effective => effective.clone(),
            ConfigView::Diff => diff.clone(),
            ConfigView::Defaults => tactus_config::defaults_yaml(),
        }),
        runtime_config,
    }
}

#[cfg(test)]
mod tests {
    use axum::response::{Html, IntoResponse};

    use super::*;

    #[tokio::test]
    async fn pages_may_not_be_shown_in_frames() {
        let page = refuse_frames(Html("page").into_response()).await;
        assert_eq!(page.headers()[CONTENT_SECURITY_POLICY], "frame-ancestors 'none'");
        assert_eq!(page.headers()[X_FRAME_OPTIONS], "DENY");
        let text = refuse_frames("text".into_response()).await;
        assert!(!text.headers().contains_key(CONTENT_SECURITY_POLICY));
    }
}
