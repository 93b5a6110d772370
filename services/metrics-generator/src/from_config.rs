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

/// Checks what the configuration cannot check by itself: filters, dimensions and buckets of processors.
///
/// Errors: the first invalid limit.
pub fn check_limits(limits: &Limits) -> Result<(), String> {
    engine::Settings::resolve(&MetricsGenerator::default(), &with_all_processors(limits), "")
        .map(drop)
        .map_err(with_section)
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

    fn refused(limits: &str) -> String {
        let yaml = format!("{{overrides: {{defaults: {{metrics_generator: {{{limits}}}}}}}}}");
        let config = tactus_config::from_yaml(&yaml).unwrap();
        check_limits(&config.overrides.defaults).err().unwrap_or_default()
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
            ("span_name_sanitization: on_sundays", "metrics_generator.span_name_sanitization"),
            (
                "processor: {host_info: {host_identifiers: []}}",
                "metrics_generator: at least one value",
            ),
        ] {
            let reason = refused(limits);
            assert!(reason.starts_with(expected), "{reason}");
        }
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
