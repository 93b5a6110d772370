//! Settings of sampling, from the configuration.

use tactus_config::sections::sampling::{AdaptiveSampling, SamplingFile};
use tactus_sampling::{AdaptiveSettings, FileSettings};

/// How files are read; the built-in settings hold where the configuration has no such section.
pub(super) fn files(section: Option<&SamplingFile>) -> FileSettings {
    section.map_or_else(FileSettings::default, |section| FileSettings {
        path: section.path.clone(),
        reload_interval: section.reload_interval.as_std(),
        default_probability: section.default_sampling_probability,
    })
}

pub(super) fn adaptive(section: &AdaptiveSampling) -> AdaptiveSettings {
    AdaptiveSettings {
        target_samples_per_second: section.target_samples_per_second,
        delta_tolerance: section.delta_tolerance,
        calculation_interval: section.calculation_interval.as_std(),
        calculation_delay: section.calculation_delay.as_std(),
        calculation_buckets: section.calculation_buckets,
        aggregation_buckets: section.aggregation_buckets,
        initial_probability: section.initial_sampling_probability,
        min_probability: section.min_sampling_probability,
        min_samples_per_second: section.min_samples_per_second,
        max_operations: section.max_operations,
        max_operations_per_tenant: section.max_operations_per_tenant,
        refresh_interval: section.refresh_interval.as_std(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_lib() {
        assert_eq!(files(None), FileSettings::default());
        assert_eq!(files(Some(&SamplingFile::default())), FileSettings::default());
        assert_eq!(adaptive(&AdaptiveSampling::default()), AdaptiveSettings::default());
    }
}
