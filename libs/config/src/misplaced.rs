//! Where keys belong that published examples put elsewhere.

use crate::rewrite::flat_names;

/// The section of limits as an error calls it.
const DEFAULTS: &str = "overrides.defaults";

/// The path of the key that `key`, unknown in the section `section`, was meant to be.
pub(crate) fn right_place(section: &str, key: &str) -> Option<String> {
    match (section, key) {
        ("overrides.defaults.metrics_generator", "storage") => {
            Some("metrics_generator.storage".to_owned())
        }
        ("overrides.defaults.metrics_generator", "remote_write") => {
            Some("metrics_generator.storage.remote_write".to_owned())
        }
        (DEFAULTS | "overrides.defaults.metrics_generator", flat) => {
            let names = flat_names();
            let (_, path) = names.iter().find(|(name, _)| name == flat)?;
            Some(format!("{DEFAULTS}.{path}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_yaml;

    #[test]
    fn every_misplaced_key_is_named_with_its_place() {
        let file = "
overrides:
  defaults:
    metrics_generator:
      storage: {path: /x}
      remote_write: []
      ingestion_burst_size_bytes: 1
    ingestion_rate_limit_bytes: 1
";
        let error = from_yaml(file).unwrap_err();
        for hint in [
            "field storage not found in type overrides.defaults.metrics_generator: did you mean metrics_generator.storage?",
            "did you mean metrics_generator.storage.remote_write?",
            "did you mean overrides.defaults.ingestion.burst_size_bytes?",
            "did you mean overrides.defaults.ingestion.rate_limit_bytes?",
        ] {
            assert!(error.contains(hint), "{hint} in {error}");
        }
    }

    #[test]
    fn other_unknown_keys_have_no_hint() {
        assert_eq!(right_place("server", "ingestion_rate_limit_bytes"), None);
        assert_eq!(right_place(DEFAULTS, "nothing"), None);
    }
}
