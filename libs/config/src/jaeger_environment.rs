//! Environment variables that deployments of Jaeger set. They apply where the file says nothing about the same setting.

use crate::sections::receivers::{Receivers, ZipkinReceiver};
use crate::validate::paths;

/// Kinds of storage of Jaeger that need no server of their own, so that ours can stand in for them.
const LOCAL_STORAGE: [&str; 3] = ["memory", "badger", "grpc"];

/// Changes the receivers that a file without any gets, and the path of Jaeger's query API where the file names none.
/// Errors: name the variable.
pub(crate) fn apply(
    receivers: &mut Receivers,
    base_path: &mut String,
    env: impl Fn(&str) -> Option<String>,
) -> Result<(), String> {
    let given = |name: &str| env(name).filter(|value| !value.is_empty());
    if let Some(kind) = given("SPAN_STORAGE_TYPE")
        && !LOCAL_STORAGE.contains(&kind.as_str())
    {
        return Err(format!(
            "SPAN_STORAGE_TYPE={kind}: spans are kept in object storage or on local disk: set storage.trace.backend to s3, gcs, azure or local and leave this variable out"
        ));
    }
    if let Some(path) = given("QUERY_BASE_PATH")
        && base_path == "/"
    {
        if !path.starts_with('/') {
            return Err(format!("QUERY_BASE_PATH={path}: expecting a path that begins with /"));
        }
        paths::plain("QUERY_BASE_PATH", &path)?;
        *base_path = path;
    }
    if !receivers.by_default {
        return Ok(());
    }
    if let Some(value) = given("COLLECTOR_OTLP_ENABLED") {
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "t" => {}
            "false" | "0" | "f" => receivers.otlp.clear(),
            _ => return Err(format!("COLLECTOR_OTLP_ENABLED={value}: expecting true or false")),
        }
    }
    if let Some(address) = given("COLLECTOR_ZIPKIN_HOST_PORT") {
        let mut zipkin = ZipkinReceiver::default();
        zipkin.server.endpoint =
            if address.contains(':') { address } else { format!(":{address}") };
        receivers.zipkin.insert("zipkin".to_owned(), zipkin);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load;
    use crate::sections::root::Config;

    fn loaded(file: &str, variables: &[(&str, &str)]) -> Result<Receivers, String> {
        configured(file, variables).map(|config| config.distributor.receivers)
    }

    fn configured(file: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tactus.yaml");
        std::fs::write(&path, file).unwrap();
        let env = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        let loaded = load(&[format!("-config.file={}", path.display())], env);
        loaded.map(|loaded| loaded.config).map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_and_switches_count_where_no_receiver_is_named() {
        let variables =
            [("COLLECTOR_ZIPKIN_HOST_PORT", ":9999"), ("COLLECTOR_OTLP_ENABLED", "false")];
        let found = loaded("", &variables).unwrap();
        assert_eq!(found.zipkin["zipkin"].server.endpoint, ":9999");
        assert!(found.otlp.is_empty() && !found.jaeger.is_empty());
        let named = loaded("distributor: {receivers: {otlp: {protocols: {grpc: }}}}", &variables);
        let named = named.unwrap();
        assert!(named.zipkin.is_empty() && named.otlp.len() == 1);
        assert!(!loaded("", &[("COLLECTOR_OTLP_ENABLED", "true")]).unwrap().otlp.is_empty());
        let error = loaded("", &[("COLLECTOR_OTLP_ENABLED", "maybe")]).unwrap_err();
        assert!(error.contains("COLLECTOR_OTLP_ENABLED"), "{error}");
    }

    #[test]
    fn base_path_counts_where_the_file_has_none() {
        let path = |file: &str, value: &str| {
            configured(file, &[("QUERY_BASE_PATH", value)])
                .map(|config| config.query_frontend.jaeger.http.base_path)
        };
        assert_eq!(path("", "/jaeger").unwrap(), "/jaeger");
        assert_eq!(path("", "").unwrap(), "/");
        let file = "query_frontend: {jaeger: {http: {base_path: /own}}}";
        assert_eq!(path(file, "/jaeger").unwrap(), "/own");
        assert!(path("", "jaeger").unwrap_err().contains("QUERY_BASE_PATH=jaeger"));
        let error = path("", "/{a").unwrap_err();
        assert!(error.contains("QUERY_BASE_PATH: \"/{a\" may only have letters"), "{error}");
    }

    #[test]
    fn storage_of_another_kind_ends_the_start() {
        let error = loaded("", &[("SPAN_STORAGE_TYPE", "elasticsearch")]).unwrap_err();
        assert!(
            error.contains("SPAN_STORAGE_TYPE=elasticsearch") && error.contains("s3"),
            "{error}"
        );
        assert!(loaded("", &[("SPAN_STORAGE_TYPE", "memory")]).is_ok());
    }
}
