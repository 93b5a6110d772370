//! The settings of a distributor and of its receivers, from the configuration.

use std::sync::Arc;

use tactus_config::{Config, sections::overrides};
use tactus_distribution::{
    Settings,
    forward::Forwarders,
    generators::{GeneratorParts, Generators},
};
use tactus_drop_rules::RuleBook;
use tactus_process::{Error, Process, memory};
use tactus_proto::tactus::v1::metrics_generator_server::MetricsGenerator;
use tactus_rpc::Channels;

mod receivers;

pub(crate) use receivers::{
    ReceiverAccess, grpc_port, http_port, jaeger_udp, otlp_files, protocol_key, zipkin_key,
};

/// The distributor.
pub(crate) fn settings(config: &Config) -> Settings {
    let client = &config.ingester_client;
    let compression = client.grpc_client_config.grpc_compression.as_str();
    let built_in = Settings::default();
    Settings {
        section: config.distributor.clone(),
        remote_timeout: client.remote_timeout.non_zero().unwrap_or(built_in.remote_timeout),
        max_inflight_bytes: memory::request_bytes(config.distributor.max_inflight_bytes),
        compresses_pushes: matches!(compression, "gzip" | "zstd"),
    }
}

/// The rules that drop spans of requests, and the forwarders that get copies of requests.
///
/// Errors: an invalid rule of `distributor.drop_rules`, or an invalid forwarder.
pub(crate) fn rules_and_forwarders(process: &Process) -> Result<(RuleBook, Forwarders), Error> {
    let (config, registry) = (process.config(), process.registry());
    let limits_of = process.overrides().limits_of();
    let everyone = config.distributor.drop_rules.clone();
    let rules = RuleBook::new(everyone, Arc::clone(&limits_of), registry)
        .map_err(|reason| Error::Setup(format!("distributor.{reason}")))?;
    let sections = &config.distributor.forwarders;
    let forwarders = Forwarders::start(sections, limits_of, config.multitenant(), registry)
        .map_err(Error::Setup)?;
    Ok((rules, forwarders))
}

/// Divisor: requests for metrics generators may hold this fraction of the bytes in flight.
const GENERATORS_SHARE: u64 = 4;

/// The client of the metrics generators; `None` if there are none: no cluster, and no generator in this process. `local`:
/// the generator in this process.
///
/// Errors: invalid certificates.
pub(crate) fn generators(
    process: &Process,
    local: Option<Arc<dyn MetricsGenerator>>,
    settings: &Settings,
) -> Result<Option<Generators>, Error> {
    let cluster = process.cluster();
    if cluster.is_alone() && local.is_none() {
        return Ok(None);
    }
    let channels = generator_channels(process)?;
    let client = &process.config().metrics_generator_client;
    let parts = GeneratorParts {
        ring: cluster.generators().ring(),
        generator_of: cluster.generator_of(&channels, local),
        limits_of: process.overrides().limits_of(),
        remote_timeout: client.remote_timeout.non_zero().unwrap_or(settings.remote_timeout),
        max_bytes: settings.max_inflight_bytes / GENERATORS_SHARE,
    };
    Ok(Some(Generators::new(parts, process.registry())))
}

/// Connections to metrics generators. Errors: certificates.
pub(crate) fn generator_channels(process: &Process) -> Result<Channels, Error> {
    let client = &process.config().metrics_generator_client.grpc_client_config;
    process.channels_of("metrics_generator_client.grpc_client_config", client)
}

/// Checks what the configuration cannot check by itself: drop rules must be TraceQL.
///
/// Errors: the first rule that is not.
pub fn check_limits(limits: &overrides::Limits) -> Result<(), String> {
    RuleBook::check(&limits.drop_rules)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn defaults_leave_room_for_requests_and_hedge() {
        let settings = settings(&Config::default());
        assert_eq!(settings.remote_timeout, Duration::from_secs(5));
        assert_eq!(settings.section.hedging_delay.as_std(), Duration::from_millis(250));
        assert!(settings.max_inflight_bytes > 0 && settings.section.extend_writes);
        assert!(!settings.section.usage.cost_attribution.enabled);
    }

    #[test]
    fn file_receivers_need_files_and_a_tenant_where_there_are_several() {
        let read = |more: &str, multitenant: bool| {
            let text = format!(
                "{{multitenancy_enabled: {multitenant}, distributor: {{receivers: {{otlpjsonfile/a: {{{more}}}}}}}}}"
            );
            otlp_files(&tactus_config::from_yaml(&text).unwrap()).map_err(|error| error.to_string())
        };
        let made = read("include: ['/var/*.json'], start_at: beginning, max_log_size: 2KiB", false);
        let made = made.unwrap();
        assert_eq!((made[0].tenant.as_str(), made[0].from_beginning), ("single-tenant", true));
        assert_eq!((made[0].max_line_bytes, made[0].poll_interval.as_millis()), (2048, 200));
        assert_eq!(read("include: [x], tenant: t", true).unwrap()[0].tenant.as_str(), "t");
        for (more, expected) in [
            ("", "distributor.receivers.otlpjsonfile/a.include: no file is named"),
            ("include: [x]", "otlpjsonfile/a.tenant: is not set"),
            ("include: [x], tenant: t, start_at: now", "start_at: \"now\" is neither"),
            ("include: ['a[b]'], tenant: t", "include: \"a[b]\": only *, ** and ? are known"),
        ] {
            let error = read(more, true).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn drop_rules_of_limits_are_checked() {
        let rule = |query: &str| {
            let text =
                format!("overrides: {{defaults: {{drop_rules: [{{name: r, query: '{query}'}}]}}}}");
            check_limits(&tactus_config::from_yaml(&text).unwrap().overrides.defaults)
        };
        assert_eq!(rule("{ name = \"x\" }"), Ok(()));
        let error = rule("{ } | count() > 1").unwrap_err();
        assert!(error.starts_with("drop_rules[0] (\"r\"): query: "), "{error}");
    }
}
