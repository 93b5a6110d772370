//! A generator from the configuration.

use std::sync::Arc;

use tactus_config::{
    Config,
    sections::{
        generator::MetricsGenerator,
        overrides::{GeneratorLimits, Limits},
    },
};
use tactus_generator::{Generator, engine};
use tactus_process::{Error, Process, memory};

/// Divisor: pushes that are being counted may hold this fraction of the bytes that requests may hold.
const SHARE_OF_REQUESTS: u64 = 4;

/// Errors: invalid settings; certificates that cannot be read.
pub(crate) fn generator(process: &Process) -> Result<Arc<Generator>, Error> {
    let config = process.config();
    let max_bytes = memory::request_bytes(config.distributor.max_inflight_bytes);
    check(config)?;
    Generator::open(
        Arc::clone(config),
        Arc::clone(process.overrides()),
        process.registry(),
        max_bytes / SHARE_OF_REQUESTS,
    )
    .map_err(|source| Error::Part { part: "metrics-generator", source: Box::new(source) })
}

/// Errors: invalid settings; certificates that cannot be read.
pub(crate) fn check(config: &Config) -> Result<(), Error> {
    // All processors are turned on, so that the settings of each are checked. The limits of tenants are checked elsewhere.
    let everything = with_all_processors(&Limits::built_in());
    engine::Settings::resolve(&config.metrics_generator, &everything, "")
        .map_err(|reason| Error::Setup(with_section(reason)))?;
    tactus_remote_write::check(&config.metrics_generator.storage)
        .map_err(|error| Error::Setup(format!("metrics_generator.storage: {error}")))
}

/// Checks what the limits cannot be checked for by themselves: filters, dimensions and buckets of processors, together with
/// those of the configuration, and headers.
///
/// Errors: the first invalid limit.
pub fn check_limits(config: &Config, limits: &Limits) -> Result<(), String> {
    let resolve = |section: &MetricsGenerator, limits: &Limits| {
        engine::Settings::resolve(section, &with_all_processors(limits), "").map(drop)
    };
    // A section that is wrong by itself is no fault of the limits: a process that has a generator refuses it.
    let section = match resolve(&config.metrics_generator, &Limits::built_in()) {
        Ok(()) => &config.metrics_generator,
        Err(_) => &MetricsGenerator::default(),
    };
    resolve(section, limits).map_err(with_section)?;
    tactus_remote_write::check_headers(&limits.metrics_generator.remote_write_headers)
        .map_err(|reason| format!("metrics_generator.remote_write_headers: {reason}"))
}

fn with_all_processors(limits: &Limits) -> GeneratorLimits {
    let processors = ["span-metrics", "service-graphs", "host-info"].map(Into::into).into();
    GeneratorLimits { processors, ..limits.metrics_generator.clone() }
}

/// Adds the section to a reason that does not name its key.
fn with_section(reason: String) -> String {
    match reason.starts_with("metrics_generator.") {
        true => reason,
        false => format!("metrics_generator: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why limits are refused with a `metrics_generator` section.
    fn refused_with(section: &str, limits: &str) -> String {
        let yaml = format!(
            "{{metrics_generator: {{{section}}}, overrides: {{defaults: {{metrics_generator: {{{limits}}}}}}}}}"
        );
        let config = tactus_config::from_yaml(&yaml).unwrap();
        check_limits(&config, &config.overrides.defaults).err().unwrap_or_default()
    }

    fn refused(limits: &str) -> String {
        refused_with("", limits)
    }

    #[test]
    fn limits_are_judged_whether_or_not_their_processor_is_on() {
        assert_eq!(refused("processors: [span-metrics]"), "");
        for (limits, expected) in [
            (
                "processor: {span_metrics: {filter_policies: [{}]}}",
                "metrics_generator: invalid filter policy",
            ),
            (
                "processor: {span_metrics: {aliases: [x]}}",
                "metrics_generator.processor.span_metrics.aliases \"x\"",
            ),
            (
                "processor: {host_info: {metric_name: traces_target_info}}",
                "metrics_generator.processor.host_info.metric_name \"traces_target_info\"",
            ),
            ("span_name_sanitization: on_sundays", "metrics_generator.span_name_sanitization"),
            (
                "processor: {host_info: {host_identifiers: []}}",
                "metrics_generator: at least one value",
            ),
            (
                "remote_write_headers: {Content-Type: secret}",
                "metrics_generator.remote_write_headers: Content-Type is a reserved header",
            ),
            ("remote_write_headers: {'a b': secret}", "metrics_generator.remote_write_headers: "),
        ] {
            let reason = refused(limits);
            assert!(reason.starts_with(expected) && !reason.contains("secret"), "{reason}");
        }
        assert_eq!(
            refused("remote_write_headers: {Authorization: Bearer x, X-Scope-OrgID: a}"),
            ""
        );
    }

    #[test]
    fn limits_are_judged_together_with_the_configuration() {
        let mapping =
            "processor: {span_metrics: {dimension_mappings: [{name: a-b, source_labels: [x]}]}}";
        let dimension = "processor: {span_metrics: {dimensions: [a.b]}}";
        assert_eq!((refused_with(mapping, ""), refused_with("", dimension)), Default::default());
        let reason = refused_with(mapping, dimension);
        let expected = "metrics_generator: dimension_mapping \"a-b\" produces label \"a_b\" which collides with dimension \"a.b\"";
        assert_eq!(reason, expected);
        // The section is wrong without any limits.
        assert_eq!(refused_with("limiter_type: none", dimension), "");
    }

    #[test]
    fn configuration_of_processors_and_remotes_is_judged_at_the_start() {
        let reason = |yaml: &str| match check(&tactus_config::from_yaml(yaml).unwrap()) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        assert_eq!(reason("{}"), "");
        let policy = "{metrics_generator: {processor: {span_metrics: {filter_policies: [{}]}}}}";
        assert!(reason(policy).contains("invalid filter policy"), "{}", reason(policy));
        // A tenant with such limits has no series, but the process must start.
        let limits =
            "{overrides: {defaults: {metrics_generator: {generate_native_histograms: x}}}}";
        assert_eq!(reason(limits), "");
        let header = "{metrics_generator: {storage: {remote_write: [{url: 'http://a', headers: {host: b}}]}}}";
        assert!(reason(header).contains("is a reserved header"), "{}", reason(header));
    }
}
