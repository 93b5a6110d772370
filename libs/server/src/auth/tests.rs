use std::path::Path;

use ::http::Request;
use axum::Router;
use axum::body::Body;
use axum::routing::any;
use tempfile::TempDir;

use super::*;
use crate::testing::ask;

const PASSWORD: &str = "correct horse battery";
const INTERNAL: &str = "between-ourselves-0123456789";

/// A directory with a users file, and what reads it.
struct Fixture {
    directory: TempDir,
    auth: Arc<Authenticator>,
}

/// `name: tenants, roles`; each has the token `<name>-token` and the password.
fn users(lines: &[(&str, &str, &str)]) -> String {
    let hash = hash_password(PASSWORD).unwrap();
    let user = |(name, tenants, roles): &(&str, &str, &str)| {
        let token = hash_token(&format!("{name}-token"));
        format!(
            "  - name: {name}\n    password_hash: {hash}\n    token_sha256: {token}\n    \
             tenants: {tenants}\n    roles: {roles}\n"
        )
    };
    format!("users:\n{}", lines.iter().map(user).collect::<String>())
}

const EVERYONE: [(&str, &str, &str); 6] = [
    ("reader", "[a]", "[read]"),
    ("writer", "[a, b]", "[write]"),
    ("owner", "[a]", "[admin]"),
    ("operator", "\"*\"", "[admin]"),
    ("grafana", "\"*\"", "[read]"),
    ("both", "[a, b]", "[read, write]"),
];

fn settings(directory: &Path, tenancy: Tenancy) -> AuthSettings {
    let token = InternalToken::load(directory.join("token"), Duration::ZERO).unwrap();
    let settings = AuthSettings::new(directory.join("users.yaml"), tenancy);
    AuthSettings {
        internal_token: Some(Arc::new(token)),
        reload_interval: Duration::ZERO,
        ..settings
    }
}

fn fixture(tenancy: Tenancy) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("users.yaml"), users(&EVERYONE)).unwrap();
    std::fs::write(directory.path().join("token"), format!("{INTERNAL}\n")).unwrap();
    let auth = Authenticator::load(settings(directory.path(), tenancy)).unwrap();
    Fixture { directory, auth }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

fn bearer(name: &str) -> String {
    format!("Bearer {name}-token")
}

/// The status of a decision, and the tenant that a handler would find.
async fn decide(auth: &Authenticator, access: Access, mut headers: HeaderMap) -> (u16, String) {
    match auth.check(access, &mut headers, None).await {
        Ok(_) => {
            assert!(!headers.contains_key("authorization"));
            let tenant = headers.get(TENANT_HEADER).map_or("", |value| value.to_str().unwrap());
            (200, tenant.to_owned())
        }
        Err(refused) => (refused.http_status().as_u16(), String::new()),
    }
}

#[tokio::test]
async fn access_needs_the_role_and_every_tenant_of_the_request() {
    let fixture = fixture(Tenancy::by_header(true));
    use Access::{Administer, Known, Operate, Read, Write};
    for (name, access, tenant, expected) in [
        ("reader", Read, "a", 200),
        ("reader", Read, "b", 403),
        ("reader", Read, "a|b", 403),
        ("reader", Write, "a", 403),
        ("reader", Administer, "a", 403),
        ("reader", Operate, "a", 403),
        ("reader", Known, "b", 200),
        ("writer", Write, "b", 200),
        ("writer", Write, "c", 403),
        ("writer", Read, "a", 403),
        ("owner", Administer, "a", 200),
        ("owner", Administer, "b", 403),
        ("owner", Operate, "a", 403),
        ("owner", Read, "a", 403),
        ("operator", Operate, "", 200),
        ("operator", Administer, "anything", 200),
        ("operator", Write, "a", 403),
        ("grafana", Read, "x|y|z", 200),
        ("grafana", Operate, "", 403),
        ("both", Read, "a|b", 200),
        ("both", Read, "a|c", 403),
        ("both", Write, "a", 200),
        // Handlers of writes read this as tenant a; those of queries as a and b.
        ("reader", Write, "a:key=1|b", 403),
        ("writer", Write, "a:key=1|c", 403),
        ("both", Read, "a|", 400),
        ("both", Read, "../c", 400),
    ] {
        let mut found = headers(&[("authorization", &bearer(name))]);
        if !tenant.is_empty() {
            found.insert(TENANT_HEADER, HeaderValue::from_str(tenant).unwrap());
        }
        let status = decide(&fixture.auth, access, found).await.0;
        assert_eq!(status, expected, "{name} {access:?} {tenant}");
    }
}

#[tokio::test]
async fn request_without_a_tenant_gets_the_only_one_of_its_caller() {
    let fixture = fixture(Tenancy::by_header(true));
    let of = |name: &str| headers(&[("authorization", &bearer(name))]);
    assert_eq!(decide(&fixture.auth, Access::Read, of("reader")).await, (200, "a".into()));
    assert_eq!(decide(&fixture.auth, Access::Read, of("both")).await.0, 401);
    assert_eq!(decide(&fixture.auth, Access::Read, of("grafana")).await.0, 401);
    let token = bearer("reader");
    let twice = |other: &str| {
        headers(&[("authorization", &token), (TENANT_HEADER, "a"), (TENANT_HEADER, other)])
    };
    assert_eq!(decide(&fixture.auth, Access::Read, twice("a")).await, (200, "a".into()));
    assert_eq!(decide(&fixture.auth, Access::Read, twice("b")).await.0, 400);
}

#[tokio::test]
async fn single_tenant_must_be_allowed_by_its_name() {
    let fixture = fixture(Tenancy::single());
    let of = |name: &str| headers(&[("authorization", &bearer(name)), (TENANT_HEADER, "a")]);
    assert_eq!(decide(&fixture.auth, Access::Read, of("grafana")).await.0, 200);
    assert_eq!(decide(&fixture.auth, Access::Read, of("reader")).await.0, 403);
}

#[tokio::test]
async fn credentials_are_right_or_the_answer_is_401() {
    let fixture = fixture(Tenancy::by_header(true));
    let long = format!("Bearer {}", "x".repeat(MAX_CREDENTIAL_BYTES));
    for (header, expected) in [
        (bearer("reader"), 200),
        ("bearer reader-token".to_owned(), 200),
        (basic("reader", PASSWORD), 200),
        (basic("reader", "wrong"), 401),
        (basic("nobody", PASSWORD), 401),
        (basic("reader", "reader-token"), 401),
        ("Bearer nobody-token".to_owned(), 401),
        ("Bearer".to_owned(), 401),
        ("Bearer ".to_owned(), 401),
        ("Basic !!!".to_owned(), 401),
        (format!("Basic {}", STANDARD.encode("no colon")), 401),
        (format!("Basic {}", STANDARD.encode([0xff, b':'])), 401),
        ("Digest username=reader".to_owned(), 401),
        (long, 401),
        // Joined by a proxy.
        (format!("{0},{0}", bearer("reader")), 401),
        (format!("{0}, {0}", basic("reader", PASSWORD)), 401),
    ] {
        let found = headers(&[("authorization", &header)]);
        assert_eq!(decide(&fixture.auth, Access::Read, found).await.0, expected, "{header}");
    }
    assert_eq!(decide(&fixture.auth, Access::Read, HeaderMap::new()).await.0, 401);
}

#[tokio::test]
async fn repeated_credentials_count_once_if_they_are_equal() {
    let fixture = fixture(Tenancy::by_header(true));
    let (token, password) = (bearer("reader"), basic("reader", PASSWORD));
    for (one, other, expected) in [
        (&token, &token, 200),
        (&password, &password, 200),
        (&token, &password, 401),
        (&token, &bearer("both"), 401),
        (&token, &String::new(), 401),
        (&bearer("nobody"), &bearer("nobody"), 401),
    ] {
        let found = headers(&[("authorization", one), ("authorization", other)]);
        let status = decide(&fixture.auth, Access::Read, found).await.0;
        assert_eq!(status, expected, "{one} {other}");
    }
    for (other, expected) in [(INTERNAL, 200), ("wrong", 401)] {
        let found = headers(&[(INTERNAL_TOKEN_HEADER, INTERNAL), (INTERNAL_TOKEN_HEADER, other)]);
        assert_eq!(decide(&fixture.auth, Access::Internal, found).await.0, expected, "{other}");
    }
}

#[tokio::test]
async fn service_shows_the_token_of_the_cluster() {
    let fixture = fixture(Tenancy::by_header(true));
    let internal = |token: &str| headers(&[(INTERNAL_TOKEN_HEADER, token)]);
    assert_eq!(decide(&fixture.auth, Access::Internal, internal(INTERNAL)).await.0, 200);
    assert_eq!(decide(&fixture.auth, Access::Internal, internal("wrong")).await.0, 401);
    let operator = headers(&[("authorization", &bearer("operator"))]);
    assert_eq!(decide(&fixture.auth, Access::Internal, operator).await.0, 401);
    // The token of services is none of a caller.
    assert_eq!(decide(&fixture.auth, Access::Read, internal(INTERNAL)).await.0, 401);
}

#[tokio::test]
async fn service_without_a_token_shows_a_verified_certificate() {
    let fixture = fixture(Tenancy::by_header(true));
    let settings = AuthSettings {
        internal_token: None,
        ..settings(fixture.directory.path(), Tenancy::single())
    };
    let auth = Authenticator::load(settings).unwrap();
    let client = "192.0.2.1:1".parse().unwrap();
    for has_verified_certificate in [false, true] {
        let info = ConnectionInfo { client, is_encrypted: true, has_verified_certificate };
        let checked = auth.check(Access::Internal, &mut HeaderMap::new(), Some(&info)).await;
        assert_eq!(checked.is_ok(), has_verified_certificate);
    }
}

#[tokio::test]
async fn changed_users_file_counts_at_once_and_a_broken_one_does_not() {
    let fixture = fixture(Tenancy::by_header(true));
    let file = fixture.directory.path().join("users.yaml");
    let password = || headers(&[("authorization", &basic("reader", PASSWORD))]);
    assert_eq!(decide(&fixture.auth, Access::Read, password()).await.0, 200);
    std::fs::write(&file, "users: oops").unwrap();
    assert_eq!(decide(&fixture.auth, Access::Read, password()).await.0, 200);
    std::fs::write(&file, users(&[("other", "[a]", "[read]")])).unwrap();
    // Neither the password, though it was remembered, nor the token.
    assert_eq!(decide(&fixture.auth, Access::Read, password()).await.0, 401);
    let token = headers(&[("authorization", &bearer("reader"))]);
    assert_eq!(decide(&fixture.auth, Access::Read, token).await.0, 401);
    let other = headers(&[("authorization", &bearer("other"))]);
    assert_eq!(decide(&fixture.auth, Access::Read, other).await.0, 200);
}

#[tokio::test]
async fn who_guesses_has_to_wait_and_who_is_known_does_not() {
    let fixture = fixture(Tenancy::by_header(true));
    let known = || headers(&[("authorization", &basic("reader", PASSWORD))]);
    assert_eq!(decide(&fixture.auth, Access::Read, known()).await.0, 200);
    let mut refused = 0;
    // On a slow machine some are forgiven on the way.
    for guess in 0..100 {
        let guess = headers(&[("authorization", &basic("reader", &guess.to_string()))]);
        match decide(&fixture.auth, Access::Read, guess).await.0 {
            401 => refused += 1,
            status => {
                assert_eq!(status, 429);
                break;
            }
        }
    }
    assert!((10..100).contains(&refused), "{refused}");
    assert_eq!(decide(&fixture.auth, Access::Read, known()).await.0, 200);
    let token = headers(&[("authorization", &bearer("writer"))]);
    assert_eq!(decide(&fixture.auth, Access::Known, token).await.0, 200);
}

#[tokio::test]
async fn guesses_do_not_hold_up_a_password_that_was_right_before() {
    let fixture = fixture(Tenancy::by_header(true));
    let by = |name: &str, password: &str| headers(&[("authorization", &basic(name, password))]);
    assert_eq!(decide(&fixture.auth, Access::Known, by("reader", PASSWORD)).await.0, 200);
    // As many as may wait.
    let _guesses = fixture.auth.guesses.waiting.acquire_many(MAX_WAITING_CHECKS as u32).await;
    assert_eq!(decide(&fixture.auth, Access::Known, by("writer", PASSWORD)).await.0, 503);
    // The same users in a file that has to be read again: nobody is remembered.
    let file = fixture.directory.path().join("users.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}# Changed.\n")).unwrap();
    fixture.auth.users.get();
    assert_eq!(decide(&fixture.auth, Access::Known, by("reader", "guess")).await.0, 503);
    assert_eq!(decide(&fixture.auth, Access::Known, by("reader", PASSWORD)).await.0, 200);
    // It is wrong from now on, which is noticed once. Then it is a guess.
    let other = text.replace("name: reader", "name: someone");
    std::fs::write(&file, other).unwrap();
    assert_eq!(decide(&fixture.auth, Access::Known, by("reader", PASSWORD)).await.0, 401);
    assert_eq!(decide(&fixture.auth, Access::Known, by("reader", PASSWORD)).await.0, 503);
}

#[tokio::test]
async fn guarded_router_asks_and_public_paths_do_not() {
    let fixture = fixture(Tenancy::by_header(true));
    let auth = Some(&fixture.auth);
    let tenant = |headers: HeaderMap| async move {
        headers.get(TENANT_HEADER).map_or("none".to_owned(), |v| v.to_str().unwrap().to_owned())
    };
    let read = guard(Router::new().route("/api/search", any(tenant)), Access::Read, auth);
    let pages = Router::new().route("/ready", any(tenant)).route("/flush", any(tenant));
    let pages = pages.route("/health", any(tenant)).route("/health/flush", any(tenant));
    let pages = guard(pages, Access::Operate, auth);
    let empty = guard(Router::new(), Access::Operate, auth);
    let app = Router::new().nest("/tempo", read).merge(pages).merge(empty);
    let request = |path: &str, token: &str| {
        let request = Request::get(path).header("authorization", token);
        request.body(Body::empty()).unwrap()
    };
    let found = ask(&app, request("/tempo/api/search", &bearer("reader"))).await;
    assert_eq!((found.0, &*found.2), (200, "a"));
    let (status, headers, body) = ask(&app, request("/tempo/api/search", "")).await;
    assert_eq!((status, &*body), (401, "wrong credentials\n"));
    let challenges: Vec<_> = headers.get_all("www-authenticate").iter().collect();
    assert_eq!(challenges.len(), 2);
    assert_eq!(ask(&app, request("/ready", "")).await.0, 200);
    assert_eq!(ask(&app, request("/health", "")).await.0, 200);
    assert_eq!(ask(&app, request("/health/flush", "")).await.0, 401);
    assert_eq!(ask(&app, request("/flush", "")).await.0, 401);
    assert_eq!(ask(&app, request("/flush", &bearer("owner"))).await.0, 403);
    assert_eq!(ask(&app, request("/flush", &bearer("operator"))).await.0, 200);
    assert_eq!(ask(&app, request("/nothing", "")).await.0, 404);
    let limited = fixture.auth.check(Access::Known, &mut HeaderMap::new(), None).await;
    assert_eq!(limited, Err(Refused::Nobody));
}

#[tokio::test]
async fn grpc_services_are_for_the_cluster_unless_the_table_names_them() {
    let fixture = fixture(Tenancy::by_header(true));
    let app = Router::new().fallback(|| async { "served" });
    let app = guard_grpc(app, STANDARD_GRPC, Some(&fixture.auth));
    let call = |path: &str, header: &str, value: &str| {
        Request::post(path).header(header, value).body(Body::empty()).unwrap()
    };
    for (path, header, value, expected) in [
        ("/grpc.health.v1.Health/Check", "x", "y", "served"),
        ("/tempopb.StreamingQuerier/Search", "authorization", "Bearer reader-token", "served"),
        ("/tempopb.StreamingQuerier/Search", "authorization", "Bearer writer-token", "7"),
        ("/tempopb.StreamingQuerier/Search", "x", "y", "16"),
        ("/tactus.v1.Ingester/Push", INTERNAL_TOKEN_HEADER, INTERNAL, "served"),
        ("/tactus.v1.Ingester/Push", "authorization", "Bearer operator-token", "16"),
        ("/unknown.Service/Method", "authorization", "Bearer operator-token", "16"),
    ] {
        let (_, headers, body) = ask(&app, call(path, header, value)).await;
        let found = headers.get("grpc-status").map_or(&*body, |status| status.to_str().unwrap());
        assert_eq!(found, expected, "{path} {value}");
    }
}

#[test]
fn users_file_with_a_mistake_is_refused_without_quoting_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users.yaml");
    let hash = hash_password(PASSWORD).unwrap();
    let token = hash_token("t");
    let good = format!("{{name: u, token_sha256: {token}, tenants: [a], roles: [read]}}");
    for (text, expected) in [
        ("".to_owned(), "want one list under the key `users`"),
        ("users: [SECRET".to_owned(), "not YAML (line "),
        ("users:\n- name: a\n   SECRET: b\n".to_owned(), "not YAML (line 3, column "),
        ("users: []\n---\nSECRET: 1".to_owned(), "not YAML (line 2, column 1)"),
        ("users:\n- {}\n".to_owned(), "users[0]: name is missing (line 2)"),
        (
            "users:\n- name: u\n  name: SECRET\n".to_owned(),
            "users[0]: name stands there twice (line 3)",
        ),
        ("users: SECRET".to_owned(), "want one list"),
        ("users: []\nSECRET: 1".to_owned(), "want one list"),
        ("users: [SECRET]".to_owned(), "users[0]: want a mapping"),
        ("users: [{SECRET: 1}]".to_owned(), "users[0]: a key that is none of name, "),
        ("users: [{name: a}]".to_owned(), "users[0]: tenants: want a list"),
        (good.replace(&token, "SECRET"), "users[0]: token_sha256: want 64 hexadecimal digits"),
        (good.replace("[read]", "[SECRET]"), "users[0]: roles: want a list of read, write, admin"),
        (good.replace("[read]", "[]"), "users[0]: roles: want"),
        (good.replace("[a]", "[]"), "users[0]: tenants: want"),
        (good.replace("[a]", "[a/b]"), "users[0]: tenants: "),
        (good.replace("name: u", "name: 'SEC:RET'"), "users[0]: name: basic"),
        (
            good.replace(&format!("token_sha256: {token}"), "password_hash: SECRET"),
            "users[0]: password_hash: no hash",
        ),
        (
            good.replace(&format!("token_sha256: {token}, "), ""),
            "users[0]: password_hash or token_sha256 is missing",
        ),
        (format!("{good}, {good}"), "users[1]: token_sha256: a token that another user has"),
        (
            format!(
                "{good}, {}",
                good.replace("token_sha256: ", "password_hash: ")
                    .replace(&token, &format!("'{hash}'"))
            ),
            "users[1]: a name that another",
        ),
    ] {
        let text = if text.starts_with('{') { format!("users: [{text}]") } else { text };
        std::fs::write(&file, &text).unwrap();
        let error = Authenticator::load(AuthSettings::new(&file, Tenancy::single())).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(expected), "{text}: {shown}");
        assert!(!shown.contains("SECRET"), "{shown}");
    }
    // Digits throughout are a text as well.
    for good in [&good, &good.replace(&token, &"1234".repeat(16))] {
        std::fs::write(&file, format!("users: [{good}]")).unwrap();
        assert!(Authenticator::load(AuthSettings::new(&file, Tenancy::single())).is_ok());
    }
    let token = directory.path().join("token");
    std::fs::write(&token, "short").unwrap();
    let error = InternalToken::load(token, Duration::ZERO).unwrap_err().to_string();
    assert!(error.ends_with("the token is shorter than 16 characters"), "{error}");
}

#[tokio::test]
async fn secrets_are_in_no_debug_output_and_no_answer() {
    let fixture = fixture(Tenancy::by_header(true));
    let header = basic("reader", PASSWORD);
    let found = headers(&[("authorization", &header)]);
    decide(&fixture.auth, Access::Read, found).await;
    let shown = format!("{:?} {:#?}", fixture.auth, fixture.auth.users.get());
    for secret in [PASSWORD, INTERNAL, "argon2id", &header, &hash_token("reader-token")] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn guess_counts_even_if_its_client_does_not_wait() {
    let fixture = fixture(Tenancy::by_header(true));
    for guess in 0..100 {
        if fixture.auth.attempts.wait(None).is_some() {
            return;
        }
        let mut guess = headers(&[("authorization", &basic("reader", &guess.to_string()))]);
        let check = fixture.auth.check(Access::Read, &mut guess, None);
        // One poll: enough to begin.
        let _ = futures_util::poll!(std::pin::pin!(check));
        let _ended =
            fixture.auth.guesses.waiting.acquire_many(MAX_WAITING_CHECKS as u32).await.unwrap();
    }
    panic!("a hundred guesses were free");
}

proptest::proptest! {
    #[test]
    fn any_header_is_judged_without_a_panic(bytes in proptest::collection::vec(0x20_u8..=0xff, 0..200), scheme in 0..3) {
        let scheme = ["Basic ", "Bearer ", ""][scheme as usize];
        let encoded = STANDARD.encode(&bytes);
        for secret in [&bytes[..], encoded.as_bytes()] {
            let value = [scheme.as_bytes(), secret].concat();
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let mut headers = HeaderMap::new();
                headers.insert(AUTHORIZATION, value);
                let _ = credentials(&headers);
            }
        }
    }

    #[test]
    fn any_hash_is_judged_without_a_panic(text in "\\PC{0,40}", cut in 0..98_usize) {
        let _ = secret::check_hash(&text);
        let hash = "$argon2id$v=19$m=19456,t=2,p=1$YdpFfTn/WfislsoMg1jtkw$au6+rm+NygmL7ZFddIsdtgipvHIENBcCeV/l2uTwgiY";
        let _ = secret::check_hash(&hash[..cut]);
        let _ = secret::check_hash(&format!("{}{text}{}", &hash[..cut], &hash[cut..]));
    }
}
