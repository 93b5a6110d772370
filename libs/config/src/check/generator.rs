//! Of the metrics generator: settings that give fewer series than somebody may expect, or none.

use crate::sections::generator::SpanMetrics;
use crate::sections::overrides::GeneratorLimits;
use crate::sections::root::Config;
use crate::target::services_of;

/// Estimated memory of a series: those of a label set share it, and most are the default buckets of span-metrics.
const SERIES_BYTES: u64 = 100;

/// What is not an error, and may surprise.
pub(super) fn advice(config: &Config) -> Vec<String> {
    let overrides = &config.overrides;
    let processors = &overrides.defaults.metrics_generator.processors;
    let mut advice = Vec::new();
    if !is_service_of(config) {
        return advice;
    }
    if !has_directory(config) {
        if !processors.is_empty() {
            advice.push(
                "no metrics_generator.storage.path configured, metrics generator will be disabled: \
                 overrides.defaults.metrics_generator.processors has no effect"
                    .to_owned(),
            );
        }
        return advice;
    }
    // Who else may name processors.
    let have_others = !overrides.per_tenant_override_config.is_empty()
        || overrides.user_configurable_overrides.enabled;
    if processors.is_empty() && !have_others {
        advice.push(
            "metrics_generator.storage.path is set, but no tenant has processors, so that there are no series: name some in \
             overrides.defaults.metrics_generator.processors, such as service-graphs and span-metrics"
                .to_owned(),
        );
    }
    let key = "overrides.defaults.metrics_generator.max_active_series";
    advice.extend(series_beyond_memory(&overrides.defaults.metrics_generator, key, config));
    advice
}

/// A limit on series that a tenant cannot reach, because the memory for those of all tenants ends before. `key`: of the limit.
pub(crate) fn series_beyond_memory(
    limits: &GeneratorLimits,
    key: &str,
    config: &Config,
) -> Option<String> {
    let generator = &config.metrics_generator;
    let (series, max_bytes) = (limits.max_active_series, generator.registry.max_bytes);
    // One tenant alone leaves a fifth to others.
    let most = max_bytes / 5 * 4 / SERIES_BYTES;
    let is_beyond = max_bytes > 0 && generator.limiter_type == "series" && series > most;
    let has_series =
        !limits.processors.is_empty() || config.overrides.user_configurable_overrides.enabled;
    let is_told = is_beyond && has_series && is_estimated(limits, config);
    (is_told && is_service_of(config) && has_directory(config)).then(|| {
        // A quarter more for that fifth, and a fifth more as this is an estimate.
        let needed = series.saturating_mul(SERIES_BYTES / 2 * 3);
        format!(
            "{key} is {series}, but metrics_generator.registry.max_bytes has room for some {most} series of one tenant with \
             the default buckets, and what is beyond counts under metric_overflow: set max_bytes to {needed}, or to 0, which is no limit"
        )
    })
}

/// Further buckets and names of a label set take less memory than its first ones, so that the estimate does not hold.
fn is_estimated(limits: &GeneratorLimits, config: &Config) -> bool {
    let own = &limits.processor.span_metrics;
    let section = &config.metrics_generator.processor.span_metrics;
    let buckets = own.histogram_buckets.as_ref().unwrap_or(&section.histogram_buckets);
    let aliases = own.aliases.as_ref().unwrap_or(&section.aliases);
    aliases.is_empty() && *buckets == SpanMetrics::default().histogram_buckets
}

fn is_service_of(config: &Config) -> bool {
    services_of(&config.target).contains(&"metrics-generator")
}

/// Without it there is no generator.
fn has_directory(config: &Config) -> bool {
    !config.metrics_generator.storage.path.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_yaml;

    /// A generator with a directory, and more of its section.
    fn generator(more: &str) -> String {
        format!("metrics_generator: {{storage: {{path: ./g}}{more}}}\n")
    }

    fn advice_of(target: &str, text: &str) -> Vec<String> {
        let mut config = from_yaml(text).unwrap();
        config.target = target.to_owned();
        advice(&config)
    }

    #[test]
    fn generator_for_which_no_tenant_has_processors_is_told_where_it_runs() {
        let text = generator("");
        for (target, told) in [("all", 1), ("metrics-generator", 1), ("distributor", 0)] {
            assert_eq!(advice_of(target, &text).len(), told, "{target}");
        }
        assert!(advice_of("all", &text)[0].contains("no tenant has processors"));
        for fine in [
            "{defaults: {metrics_generator: {processors: [span-metrics]}}}",
            "{per_tenant_override_config: limits.yaml}",
            "{user_configurable_overrides: {enabled: true}}",
        ] {
            let told = advice_of("all", &format!("{text}overrides: {fine}"));
            assert!(told.is_empty(), "{fine}: {told:?}");
        }
        assert!(advice(&Config::default()).is_empty());
    }

    #[test]
    fn limit_on_series_that_memory_ends_before_is_told_with_what_it_needs() {
        let told = |target: &str, series: u64, more: &str| {
            let limits = format!("{{processors: [span-metrics], max_active_series: {series}}}");
            let overrides = format!("overrides: {{defaults: {{metrics_generator: {limits}}}}}");
            advice_of(target, &(generator(more) + &overrides))
        };
        let warnings = told("all", 1_000_000, "");
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        let key = "overrides.defaults.metrics_generator.max_active_series is 1000000, ";
        assert!(warning.starts_with(key), "{warning}");
        assert!(warning.contains("some 805306 series"), "{warning}");
        assert!(warning.contains("set max_bytes to 150000000, or to 0"), "{warning}");
        assert_eq!(told("metrics-generator", 805_307, "").len(), 1);
        for (target, series, more) in [
            ("all", 0, ""),
            ("all", 805_306, ""),
            ("distributor", 1_000_000, ""),
            ("all", 1_000_000, ", registry: {max_bytes: 0}"),
            ("all", 1_000_000, ", registry: {max_bytes: 125000000}"),
            ("all", 1_000_000, ", limiter_type: entity"),
            ("all", 1_000_000, ", processor: {span_metrics: {histogram_buckets: [1, 2]}}"),
            ("all", 1_000_000, ", processor: {span_metrics: {aliases: [otel_seconds]}}"),
        ] {
            let warnings = told(target, series, more);
            assert!(warnings.is_empty(), "{target} {series} {more}: {warnings:?}");
        }
        let text = generator("")
            + "overrides: {user_configurable_overrides: {enabled: true}, \
               defaults: {metrics_generator: {max_active_series: 1000000}}}";
        assert_eq!(advice_of("all", &text).len(), 1, "tenants may choose processors");
    }
}
