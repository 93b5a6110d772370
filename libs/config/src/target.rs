//! What a process runs as.

/// The services, each of which can be a process of its own.
pub const SERVICES: [&str; 6] =
    ["distributor", "ingester", "querier", "query-frontend", "compactor", "metrics-generator"];

/// Tempo's name for a generator without the processor that is not there in any: the same as without the suffix.
const GENERATOR: &str = "metrics-generator-no-local-blocks";

/// True for the targets that are all services in one process.
pub fn is_all(target: &str) -> bool {
    matches!(target, "all" | "all-3.0" | "scalable-single-binary")
}

/// The services of a target; empty if it is not known.
pub fn services_of(target: &str) -> Vec<&'static str> {
    match target {
        target if is_all(target) => SERVICES.to_vec(),
        GENERATOR => vec!["metrics-generator"],
        target => SERVICES.into_iter().filter(|service| *service == target).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_has_its_own_service_all_or_none() {
        assert_eq!(services_of("querier"), ["querier"]);
        assert_eq!(services_of("scalable-single-binary"), SERVICES);
        assert_eq!(services_of(GENERATOR), ["metrics-generator"]);
        assert!(services_of("quer").is_empty());
    }
}
