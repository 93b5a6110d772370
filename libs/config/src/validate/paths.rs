//! Prefixes of paths: what routes may be made of, and which paths are taken.

use super::Invalid;
use crate::sections::root::Config;

/// What every process, or one with a certain service, serves beside `http_api_prefix`.
const OPERATIONAL: [&str; 20] = [
    "/ready",
    "/metrics",
    "/status",
    "/status/version",
    "/status/services",
    "/status/endpoints",
    "/status/runtime_config",
    "/status/config",
    "/status/overrides",
    "/log_level",
    "/shutdown",
    "/memberlist",
    "/ingester/ring",
    "/distributor/ring",
    "/metrics-generator/ring",
    "/compactor/ring",
    "/flush",
    "/ingester/prepare-downscale",
    "/ingester/prepare-partition-downscale",
    "/usage_metrics",
];
/// Below it is a page for each tenant.
const OF_TENANTS: &str = "/status/overrides/";

pub(super) fn validate(config: &Config) -> Result<(), Invalid> {
    let key = "http_api_prefix";
    let prefix = &config.http_api_prefix;
    plain(key, prefix).map_err(|text| Invalid::new(key, text))?;
    let path = format!("/{}", prefix.trim_matches('/'));
    // The web UI and its links are on the prefix itself.
    let of_tenant = path.strip_prefix(OF_TENANTS).is_some_and(|tenant| !tenant.contains('/'));
    if OPERATIONAL.contains(&path.as_str()) || of_tenant {
        let text = format!("{key}: {path} is a path of the process itself: choose another prefix");
        return Err(Invalid::new(key, text));
    }
    let key = "query_frontend.jaeger.http.base_path";
    plain(key, &config.query_frontend.jaeger.http.base_path).map_err(|text| Invalid::new(key, text))
}

/// Errors: the path may not begin a route; names the setting.
pub(crate) fn plain(setting: &str, path: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    if path.bytes().all(is_plain) {
        return Ok(());
    }
    Err(format!("{setting}: {path:?} may only have letters, digits, and / - . _ ~"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_yaml;

    fn error(text: &str) -> Option<String> {
        validate(&from_yaml(text).unwrap()).err().map(|invalid| invalid.text)
    }

    #[test]
    fn prefix_on_a_path_of_the_process_is_refused() {
        for prefix in [
            "/status",
            "status/",
            "/shutdown",
            "/ready",
            "/metrics",
            "/memberlist",
            "/ingester/ring",
            "/usage_metrics",
            "/status/config",
            "/status/overrides",
            "/status/overrides/a",
        ] {
            let found = error(&format!("http_api_prefix: {prefix}")).unwrap();
            let path = prefix.trim_matches('/');
            let expected = format!("http_api_prefix: /{path} is a path of the process itself");
            assert!(found.starts_with(&expected), "{prefix}: {found}");
        }
        for prefix in [
            "''",
            "/",
            "/tempo",
            "/tempo/",
            "/ready/x",
            "/status/x",
            "/status/config/x",
            "/status/overrides/a/b",
            "/ingester",
            "/api",
            "/metrics-generator",
        ] {
            assert_eq!(error(&format!("http_api_prefix: {prefix}")), None, "{prefix}");
        }
    }

    #[test]
    fn base_path_has_the_characters_of_a_prefix() {
        let base_path = |path: &str| {
            error(&format!("query_frontend: {{jaeger: {{http: {{base_path: '{path}'}}}}}}"))
        };
        for path in ["/{a", "/*x", "/:x", "/a b"] {
            let found = base_path(path).unwrap();
            let key = "query_frontend.jaeger.http.base_path";
            assert_eq!(
                found,
                format!("{key}: {path:?} may only have letters, digits, and / - . _ ~")
            );
        }
        for path in ["/", "", "/jaeger", "/status", "/a/b.c-d_e~f/"] {
            assert_eq!(base_path(path), None, "{path}");
        }
    }
}
