//! The standard variables of the environment.

use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::sampler::Sampler;

/// The service of OTLP over gRPC.
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// Where OTLP over HTTP goes below an endpoint for all signals.
const HTTP_PATH: &str = "/v1/traces";

/// How spans are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP over HTTP, in protobuf.
    Http,
    /// OTLP over gRPC.
    Grpc,
}

/// Where own spans go, and how.
#[derive(Clone, PartialEq)]
pub struct Settings {
    /// The full URL.
    pub url: String,
    /// How they are sent.
    pub protocol: Protocol,
    /// Sent along; values may be secret.
    pub headers: Vec<(String, String)>,
    /// Bodies are compressed.
    pub gzip: bool,
    /// File of certificates to trust instead of the system's.
    pub certificate: Option<String>,
    /// Limit of one request.
    pub timeout: Duration,
    /// What the spans belong to: `service.name` and more.
    pub resource: Vec<(String, String)>,
    /// Which traces are recorded.
    pub sampler: Sampler,
    /// Spans that wait; more are dropped.
    pub queue_spans: usize,
    /// Most spans of one request.
    pub batch_spans: usize,
    /// A batch that is not full is sent after this time.
    pub delay: Duration,
}

crate::debug_of!(Settings { protocol });

/// An invalid variable; the text names it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

impl Settings {
    /// From the environment; `None` if self-tracing is off. `target` is the service that this process is.
    ///
    /// Errors: an exporter or protocol that there is not, numbers that are none.
    pub fn from_env(
        target: &str,
        version: &str,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, SettingsError> {
        let env = |name: &str| {
            env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        // What is said of traces wins over what is said of all signals.
        let otlp = |name: &str| {
            let of_traces = format!("OTEL_EXPORTER_OTLP_TRACES_{name}");
            env(&of_traces).or_else(|| env(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        let exporter = env("OTEL_TRACES_EXPORTER");
        let endpoint = otlp("ENDPOINT");
        let disabled =
            env("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if disabled || (exporter.is_none() && endpoint.is_none()) {
            return Ok(None);
        }
        let invalid = |text: String| Err(SettingsError(text));
        match exporter.as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => {
                return invalid(format!("OTEL_TRACES_EXPORTER: unknown exporter {other}"));
            }
        }
        let protocol = match otlp("PROTOCOL").as_deref() {
            None | Some("http/protobuf") => Protocol::Http,
            Some("grpc") => Protocol::Grpc,
            Some(other) => {
                return invalid(format!("OTEL_EXPORTER_OTLP_PROTOCOL: unknown protocol {other}"));
            }
        };
        let sampler = match env("OTEL_TRACES_SAMPLER") {
            None => Sampler::default(),
            Some(name) => {
                let argument = env("OTEL_TRACES_SAMPLER_ARG").unwrap_or_default();
                Sampler::parse(&name, &argument).map_err(SettingsError)?
            }
        };
        let millis =
            |name: &str, value, default| number(name, value, default).map(Duration::from_millis);
        let queue = "OTEL_BSP_MAX_QUEUE_SIZE";
        let batch = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";
        let delay = "OTEL_BSP_SCHEDULE_DELAY";
        Ok(Some(Self {
            url: url(protocol, env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), endpoint),
            protocol,
            headers: pairs(&otlp("HEADERS").unwrap_or_default()),
            gzip: otlp("COMPRESSION").as_deref() == Some("gzip"),
            certificate: otlp("CERTIFICATE"),
            timeout: millis("OTEL_EXPORTER_OTLP_TIMEOUT", otlp("TIMEOUT"), 10_000)?,
            resource: resource(
                env("OTEL_SERVICE_NAME"),
                &env("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default(),
                target,
                version,
            ),
            sampler,
            queue_spans: number(queue, env(queue), 2048)?.clamp(1, 1 << 20) as usize,
            batch_spans: number(batch, env(batch), 512)?.clamp(1, 1 << 16) as usize,
            delay: millis(delay, env(delay), 5_000)?,
        }))
    }
}

/// A whole number. Errors: something else, with the name of the variable.
fn number(name: &str, value: Option<String>, default: u64) -> Result<u64, SettingsError> {
    let Some(text) = value else { return Ok(default) };
    text.parse().map_err(|_| SettingsError(format!("{name}: {text} is not a number")))
}

fn url(protocol: Protocol, of_traces: Option<String>, endpoint: Option<String>) -> String {
    match protocol {
        Protocol::Http => match (of_traces, endpoint) {
            (Some(url), _) => url,
            (None, Some(base)) => format!("{}{HTTP_PATH}", base.trim_end_matches('/')),
            (None, None) => format!("http://localhost:4318{HTTP_PATH}"),
        },
        Protocol::Grpc => {
            let base = endpoint.unwrap_or_else(|| "http://localhost:4317".to_owned());
            let base = base.trim_end_matches('/');
            let scheme = if base.contains("://") { "" } else { "http://" };
            format!("{scheme}{base}{GRPC_PATH}")
        }
    }
}

fn resource(
    name: Option<String>,
    attributes: &str,
    target: &str,
    version: &str,
) -> Vec<(String, String)> {
    let mut resource = pairs(attributes);
    if let Some(name) = name {
        resource.retain(|(key, _)| key != "service.name");
        resource.push(("service.name".to_owned(), name));
    }
    for (key, value) in [
        ("service.name", format!("tactus-{target}")),
        ("service.version", version.to_owned()),
        ("telemetry.sdk.language", "rust".to_owned()),
    ] {
        if !resource.iter().any(|(known, _)| known == key) {
            resource.push((key.to_owned(), value));
        }
    }
    resource
}

/// `key=value,key=value`, percent-encoded; what has no `=` is left out.
fn pairs(text: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8_lossy().into_owned();
    let pair = |pair: &str| pair.split_once('=').map(|(key, value)| (decoded(key), decoded(value)));
    text.split(',').filter_map(pair).filter(|(key, _)| !key.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, SettingsError> {
        Settings::from_env("querier", "1.2.3", |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn on(variables: &[(&str, &str)]) -> Settings {
        read(variables).unwrap().unwrap()
    }

    #[test]
    fn nothing_set_is_off() {
        for variables in [
            &[][..],
            &[("OTEL_SERVICE_NAME", "x")],
            &[("OTEL_TRACES_EXPORTER", "none"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")],
            &[("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "otlp")],
            &[("OTEL_TRACES_EXPORTER", " ")],
        ] {
            assert_eq!(read(variables), Ok(None));
        }
    }

    #[test]
    fn endpoints_become_urls() {
        let endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let of_traces = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let default = on(&[("OTEL_TRACES_EXPORTER", "otlp")]);
        assert_eq!(default.url, "http://localhost:4318/v1/traces");
        assert_eq!(on(&[(endpoint, "https://c/x/")]).url, "https://c/x/v1/traces");
        assert_eq!(on(&[(endpoint, "http://c"), (of_traces, "http://d/y")]).url, "http://d/y");
        assert_eq!(on(&[(endpoint, "c:4317"), protocol]).url, format!("http://c:4317{GRPC_PATH}"));
        assert_eq!(on(&[(of_traces, "https://c/"), protocol]).url, format!("https://c{GRPC_PATH}"));
    }

    #[test]
    fn service_is_named_after_the_target_unless_named() {
        let name = |variables: &[(&str, &str)]| {
            let mut all = vec![("OTEL_TRACES_EXPORTER", "otlp")];
            all.extend_from_slice(variables);
            let resource = on(&all).resource;
            resource.iter().find(|(key, _)| key == "service.name").unwrap().1.clone()
        };
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a%20b,x=y,broken");
        assert_eq!(name(&[]), "tactus-querier");
        assert_eq!(name(&[attributes]), "a b");
        assert_eq!(name(&[attributes, ("OTEL_SERVICE_NAME", "c")]), "c");
    }

    #[test]
    fn details_are_read_and_mistakes_are_named() {
        let on_switch = ("OTEL_TRACES_EXPORTER", "otlp");
        let settings = on(&[
            on_switch,
            ("OTEL_EXPORTER_OTLP_HEADERS", "X-Scope-OrgID=ops,authorization=Basic%20x"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ]);
        assert_eq!(settings.headers[1], ("authorization".to_owned(), "Basic x".to_owned()));
        assert_eq!((settings.timeout, settings.gzip), (Duration::from_millis(1500), true));
        assert_eq!(settings.delay, Duration::from_millis(50));
        assert!(!format!("{settings:?}").contains("Basic"));
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_TRACES_SAMPLER", "x"),
        ] {
            let error = read(&[on_switch, (name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert!(read(&[("OTEL_TRACES_EXPORTER", "console")]).is_err());
    }
}
