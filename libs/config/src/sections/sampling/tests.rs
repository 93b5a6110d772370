use super::*;
use crate::from_yaml;

fn section(yaml: &str) -> Sampling {
    from_yaml(yaml).unwrap().sampling
}

fn checked(yaml: &str) -> Result<(), String> {
    section(yaml).check()
}

#[test]
fn provider_without_keys_has_the_defaults() {
    assert_eq!(section("sampling: {file: }").file, Some(SamplingFile::default()));
    assert_eq!(section("sampling: {adaptive: {}}").adaptive, Some(AdaptiveSampling::default()));
    assert_eq!(section("").file, None);
}

#[test]
fn there_are_not_two_providers() {
    assert_eq!(checked("sampling: {file: , adaptive: }").unwrap_err(), TWO_PROVIDERS);
    for good in [
        "",
        "sampling: {http: {endpoint: ':1'}}",
        "sampling: {file: {path: a.json}}",
        "sampling: {adaptive: {target_samples_per_second: 2}, grpc: {endpoint: ''}}",
        "sampling: {http: {endpoint: ''}, grpc: {endpoint: ''}}",
    ] {
        assert_eq!(checked(good), Ok(()), "{good}");
    }
}

#[test]
fn values_out_of_range_name_their_key() {
    for (adaptive, expected) in [
        ("calculation_interval: 0s", "calculation_interval: must not be 0"),
        ("aggregation_buckets: 0", "aggregation_buckets: must not be 0"),
        ("calculation_buckets: 0", "calculation_buckets: must not be 0"),
        ("target_samples_per_second: 0", "target_samples_per_second: 0 is not above 0"),
        ("calculation_delay: -1s", "calculation_delay: -1s is negative"),
        (
            "initial_sampling_probability: 1.5",
            "initial_sampling_probability: 1.5 is not between 0.00001 and 1",
        ),
        ("min_sampling_probability: 0", "min_sampling_probability: 0 is not above 0 and at most 1"),
        ("delta_tolerance: .nan", "delta_tolerance: NaN is below 0"),
    ] {
        let found = checked(&format!("sampling: {{adaptive: {{{adaptive}}}}}")).unwrap_err();
        assert_eq!(found, format!("sampling.adaptive.{expected}"));
    }
    let found = checked("sampling: {file: {default_sampling_probability: 2}}").unwrap_err();
    assert_eq!(found, "sampling.file.default_sampling_probability: 2 is not between 0 and 1");
}

#[test]
fn environment_counts_where_the_file_is_silent() {
    let read = |yaml: &str, variables: &[(&str, &str)]| {
        let mut sampling = section(yaml);
        let value = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        sampling.read_environment(value).map(|()| sampling)
    };
    let path = ("SAMPLING_STRATEGIES_FILE", "/s.json");
    let interval = ("SAMPLING_STRATEGIES_RELOAD_INTERVAL", "2s");
    let file = read("", &[path, interval]).unwrap().file.unwrap();
    assert_eq!((file.path.as_str(), file.reload_interval), ("/s.json", GoDuration::seconds(2)));
    let adaptive = read("", &[("SAMPLING_CONFIG_TYPE", "adaptive"), path]).unwrap();
    assert_eq!((adaptive.file, adaptive.adaptive.is_some()), (None, true));
    assert!(read("", &[("SAMPLING_CONFIG_TYPE", "file")]).unwrap().file.is_some());
    assert_eq!(read("", &[]).unwrap(), Sampling::default());
    let ports = read("sampling: {http: {endpoint: ':1'}}", &[path]).unwrap();
    assert!(ports.file.is_some() && ports.check().is_ok());
    let own = "sampling: {adaptive: }";
    assert_eq!(read(own, &[path]).unwrap(), section(own));
    let wrong = read("", &[("SAMPLING_CONFIG_TYPE", "x")]).unwrap_err();
    assert!(wrong.starts_with("SAMPLING_CONFIG_TYPE: unknown type x"), "{wrong}");
    let interval = ("SAMPLING_STRATEGIES_RELOAD_INTERVAL", "soon");
    let wrong = read("", &[path, interval]).unwrap_err();
    assert!(wrong.starts_with("SAMPLING_STRATEGIES_RELOAD_INTERVAL: "), "{wrong}");
}
