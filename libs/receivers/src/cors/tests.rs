use super::*;

fn cors(origins: &[&str], headers: &[&str]) -> Cors {
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    Cors::new(&CorsSettings {
        allowed_origins: owned(origins),
        allowed_headers: owned(headers),
        max_age_seconds: 60,
    })
    .expect("origins are given")
}

fn preflight(
    cors: &Cors,
    origin: &'static str,
    method: &'static str,
    asked: &'static str,
) -> HeaderMap {
    let mut request = HeaderMap::new();
    request.insert(ORIGIN, HeaderValue::from_static(origin));
    request.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static(method));
    request.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static(asked));
    cors.preflight(&Method::OPTIONS, &request).expect("this is a preflight request")
}

#[test]
fn cors_without_origins_is_off() {
    assert!(Cors::new(&CorsSettings::default()).is_none());
}

#[test]
fn preflight_of_an_allowed_origin_is_granted() {
    let cors = cors(&["https://*.example.com"], &["x-scope-orgid"]);
    let headers =
        preflight(&cors, "https://App.example.com", "POST", "Content-Type, X-Scope-OrgID");
    assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://App.example.com");
    assert_eq!(headers[ACCESS_CONTROL_ALLOW_METHODS], "POST");
    assert_eq!(headers[ACCESS_CONTROL_ALLOW_HEADERS], "Content-Type, X-Scope-OrgID");
    assert_eq!(headers[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
    assert_eq!(headers[ACCESS_CONTROL_MAX_AGE], "60");
    assert_eq!(headers[VARY], PREFLIGHT_VARY);
}

#[test]
fn preflight_that_is_not_allowed_gets_no_permission() {
    let cors = cors(&["https://*.example.com"], &[]);
    for (origin, method, asked) in [
        ("https://example.org", "POST", ""),
        ("https://.example.com.evil", "POST", ""),
        ("https://a.example.com", "DELETE", ""),
        ("https://a.example.com", "POST", "x-secret"),
    ] {
        let headers = preflight(&cors, origin, method, asked);
        assert_eq!(headers.keys().collect::<Vec<_>>(), [VARY], "{origin} {method} {asked}");
    }
}

#[test]
fn any_origin_is_answered_with_a_star() {
    let headers = preflight(&cors(&["*"], &["*"]), "https://x", "POST", "x-anything");
    assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
}

#[test]
fn options_without_a_requested_method_is_no_preflight() {
    let mut request = HeaderMap::new();
    request.insert(ORIGIN, HeaderValue::from_static("https://x"));
    assert!(cors(&["*"], &[]).preflight(&Method::OPTIONS, &request).is_none());
}
