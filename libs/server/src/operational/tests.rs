use ::http::Request;
use axum::body::Body;

use super::*;
use crate::testing::ask;

fn service(name: &'static str, state: ServiceState) -> ServiceStatus {
    ServiceStatus { name, state }
}

fn state() -> Operational {
    Operational {
        build: BuildInfo {
            version: "2.10.8".to_owned(),
            revision: "abc".to_owned(),
            ..BuildInfo::default()
        },
        is_stopping: Arc::new(|| false),
        services: Arc::new(|| {
            vec![
                service("querier", ServiceState::Running),
                service("distributor", ServiceState::Running),
            ]
        }),
        component_ready: Arc::new(|| Ok(())),
        metrics: Arc::new(|accept| ("text/x", format!("accepted: {accept}\n"))),
        endpoints: vec!["/api/search".to_owned()],
        config: Arc::new(|view| format!("view: {view:?}\n")),
        runtime_config: Arc::new(|view| format!("limits: {view:?}\n")),
    }
}

async fn get(state: Operational, path: &str) -> (u16, String) {
    let app = api_router(&state.build).merge(router(state));
    let (status, _, body) =
        ask(&app, Request::get(path).body(Body::empty()).expect("a valid path")).await;
    (status, body)
}

#[tokio::test]
async fn echo_and_ready_answer_one_line() {
    assert_eq!(get(state(), "/api/echo").await, (200, "echo\n".to_owned()));
    assert_eq!(get(state(), "/ready").await, (200, "ready\n".to_owned()));
    assert_eq!(
        get(state(), "/status/usage-stats").await,
        (200, "usage-stats is not enabled\n".to_owned())
    );
}

#[tokio::test]
async fn readiness_tells_the_first_reason() {
    let component = Operational {
        component_ready: Arc::new(|| Err("Ingester not ready: joining".to_owned())),
        ..state()
    };
    assert_eq!(
        get(component.clone(), "/ready").await,
        (503, "Ingester not ready: joining\n".into())
    );
    let services = Operational {
        services: Arc::new(|| {
            let states = [ServiceState::Running, ServiceState::Stopping, ServiceState::Running];
            states.map(|state| service("s", state)).to_vec()
        }),
        ..component
    };
    let text = "Some services are not Running:\nRunning: 2\nStopping: 1\n";
    assert_eq!(get(services.clone(), "/ready").await, (503, text.to_owned()));
    let stopping = Operational { is_stopping: Arc::new(|| true), ..services };
    assert_eq!(get(stopping, "/ready").await, (503, "Application is stopping\n".to_owned()));
}

#[tokio::test]
async fn build_info_has_all_keys_in_order() {
    let expected = "{\"version\":\"2.10.8\",\"revision\":\"abc\",\"branch\":\"\",\"buildUser\":\"\",\
                    \"buildDate\":\"\",\"goVersion\":\"\"}\n";
    assert_eq!(get(state(), "/api/status/buildinfo").await, (200, expected.to_owned()));
}

#[tokio::test]
async fn page_of_metrics_is_chosen_by_all_accept_headers() {
    for app in [router(state()), internal_router(state())] {
        for (accepted, expected) in
            [(&[][..], ""), (&["a/b"], "a/b"), (&["a/b", "c/d;q=1"], "a/b,c/d;q=1")]
        {
            let mut request = Request::get("/metrics");
            for value in accepted {
                request = request.header("accept", *value);
            }
            let (status, headers, body) = ask(&app, request.body(Body::empty()).unwrap()).await;
            assert_eq!((status, &*body), (200, &*format!("accepted: {expected}\n")));
            assert_eq!(headers["content-type"], "text/x");
            assert_eq!(headers["vary"], "Accept");
        }
    }
}

#[tokio::test]
async fn status_concatenates_the_pages() {
    let (status, body) = get(state(), "/status").await;
    assert_eq!(status, 200);
    let titles: Vec<_> = body.lines().filter(|line| line.starts_with("GET ")).collect();
    let expected = pages::NAMES.map(|name| format!("GET /status/{name}"));
    assert_eq!(titles, expected);
}

#[tokio::test]
async fn services_page_is_a_sorted_table() {
    let expected = "\
+--------------+---------+--------------+
| SERVICE NAME | STATUS  | FAILURE CASE |
+--------------+---------+--------------+
| distributor  | Running |              |
| querier      | Running |              |
+--------------+---------+--------------+

";
    assert_eq!(get(state(), "/status/services").await, (200, expected.to_owned()));
}

#[tokio::test]
async fn version_page_begins_like_a_version_command() {
    let (_, body) = get(state(), "/status/version").await;
    assert!(body.starts_with("tempo, version 2.10.8 (branch: , revision: abc)\n"), "{body}");
}

#[tokio::test]
async fn config_page_takes_a_mode() {
    for (query, view) in [
        ("", "Effective"),
        ("?mode=", "Effective"),
        ("?mode=diff", "Diff"),
        ("?mode=defaults", "Defaults"),
    ] {
        let (status, body) = get(state(), &format!("/status/config{query}")).await;
        assert_eq!((status, body), (200, format!("---\nview: {view}\n")));
    }
    let text = "unknown value for mode query parameter: x\n".to_owned();
    assert_eq!(get(state(), "/status/config?mode=x").await, (500, text));
}

#[tokio::test]
async fn runtime_config_page_takes_a_mode_as_well() {
    let page = |query| async move { get(state(), &format!("/status/runtime_config{query}")).await };
    assert_eq!(page("").await, (200, "---\nlimits: Effective\n".to_owned()));
    assert_eq!(page("?mode=diff").await.1, "---\nlimits: Diff\n");
    assert_eq!(page("?mode=x").await.0, 500);
}

#[tokio::test]
async fn unknown_status_page_is_not_found() {
    assert_eq!(get(state(), "/status/nothing").await, (404, "404 page not found\n".to_owned()));
}

#[tokio::test]
async fn log_level_is_shown_and_changed() {
    let app = router(state());
    let post = |body: &'static str| Request::post("/log_level").body(Body::from(body)).unwrap();
    let get = || Request::get("/log_level").body(Body::empty()).unwrap();
    assert!(ask(&app, get()).await.2.contains("Current log level is info"));
    assert_eq!(ask(&app, post("log_level=loud")).await.0, 400);
    assert_eq!(ask(&app, post("")).await.0, 400);
    assert_eq!(ask(&app, post("log_level=debug")).await.0, 200);
    assert!(ask(&app, get()).await.2.contains("Current log level is debug"));
    // With authentication, only operators.
    let caller = |tenants| crate::auth::Caller {
        name: "x".into(),
        tenants,
        roles: [crate::auth::Role::Admin].into(),
    };
    let one = crate::auth::Tenants::Some(Arc::new([tactus_model::TenantId::single()].into()));
    for (tenants, status) in [(one, 403), (crate::auth::Tenants::All, 200)] {
        let mut request = post("log_level=debug");
        request.extensions_mut().insert(caller(tenants));
        assert_eq!(ask(&app, request).await.0, status);
    }
}
