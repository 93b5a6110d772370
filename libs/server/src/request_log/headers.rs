//! Headers of requests as the log shows them.

use ::http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value};

/// Parts of the names of headers with secrets: `authorization` and `proxy-authorization`, `cookie`, our own token
/// between services, and the headers of gateways and clouds.
const SECRET: [&str; 15] = [
    "authorization",
    "cookie",
    "token",
    "secret",
    "password",
    "passphrase",
    "credential",
    "api-key",
    "apikey",
    "access-key",
    "signature",
    "session",
    "jwt",
    "oidc-data",
    "client-principal",
];

/// True of names of headers that may carry a secret, in any case. Those of keys end so: `x-functions-key`.
pub fn may_be_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    name.ends_with("key") || SECRET.iter().any(|secret| name.contains(secret))
}

/// The headers that `wanted` says, by names in lower case, as a JSON object. Never one that may carry a secret.
pub fn shown_headers(headers: &HeaderMap, wanted: impl Fn(&str) -> bool) -> String {
    let names = headers.keys().map(|name| name.as_str());
    let mut shown = Map::new();
    for name in names.filter(|name| !may_be_secret(name) && wanted(name)) {
        let values = headers.get_all(name).iter().filter(|value| !value.is_sensitive());
        let values: Vec<_> = values.map(HeaderValue::as_bytes).collect();
        let text = String::from_utf8_lossy(&values.join(&b", "[..])).into_owned();
        shown.insert(name.to_owned(), Value::String(text));
    }
    Value::Object(shown).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_may_carry_secrets_are_never_shown() {
        let mut headers = HeaderMap::new();
        for name in [
            "authorization",
            "proxy-authorization",
            "cookie",
            tactus_proto::INTERNAL_TOKEN_HEADER,
            "x-api-key",
            "x-amz-security-token",
            "x-goog-iap-jwt-assertion",
            "x-auth-password",
            "x-auth-key",
            "ocp-apim-subscription-key",
            "x-functions-key",
            "api_key",
            "api_key_of_a_gateway",
            "x-amzn-oidc-data",
            "x-ms-client-principal",
            "x-passphrase",
        ] {
            headers.insert(name, HeaderValue::from_static("hunter2"));
        }
        headers.insert("x-scope-orgid", HeaderValue::from_static("acme"));
        headers.append("accept", HeaderValue::from_static("a/b"));
        headers.append("accept", HeaderValue::from_bytes(b"\"\xff").unwrap());
        let mut sensitive = HeaderValue::from_static("hunter2");
        sensitive.set_sensitive(true);
        headers.append("accept", sensitive);
        let shown: Value = serde_json::from_str(&shown_headers(&headers, |_| true)).unwrap();
        let expected = serde_json::json!({"accept": "a/b, \"\u{fffd}", "x-scope-orgid": "acme"});
        assert_eq!(shown, expected);
        let tenant = shown_headers(&headers, |name| name == "x-scope-orgid");
        assert_eq!(tenant, r#"{"x-scope-orgid":"acme"}"#);
        assert_eq!(shown_headers(&headers, |_| false), "{}");
    }
}
