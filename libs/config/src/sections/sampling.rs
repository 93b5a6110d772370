//! `sampling`: what clients that ask for it are told to sample.

use super::{minutes, seconds};
use crate::duration::{GoDuration, parse_go};
use crate::field::{Field, Opaque, Reader, Row, Section, section};
use crate::sections::receivers::PortTls;
use crate::yaml::{Node, Value, join};

/// Most buckets that are kept: more would only take memory.
const MAX_BUCKETS: usize = 1_000;
const TWO_PROVIDERS: &str =
    "sampling: only one sampling strategy provider can be specified, 'adaptive' or 'file'";

/// Where strategies come from, and the ports that they are asked for on. Without a provider every service gets the
/// default probability.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// Strategies from a file.
    pub file: Option<SamplingFile>,
    /// Strategies from what clients send.
    pub adaptive: Option<AdaptiveSampling>,
    /// HTTP.
    pub http: SamplingHttp,
    /// gRPC.
    pub grpc: SamplingGrpc,
}

impl Section for Sampling {
    fn read_entry(&mut self, key: &str, node: &Node, reader: &mut Reader) -> bool {
        match key {
            // Null is a provider with all defaults.
            "file" => reader.entry(key, node, self.file.get_or_insert_default()),
            "adaptive" => reader.entry(key, node, self.adaptive.get_or_insert_default()),
            "http" => reader.entry(key, node, &mut self.http),
            "grpc" => reader.entry(key, node, &mut self.grpc),
            _ => return false,
        }
        true
    }

    fn show_entries(&self, out: &mut Vec<(String, Value)>) {
        // Null would read back as a provider.
        out.extend(self.file.iter().map(|file| ("file".to_owned(), file.show())));
        let adaptive = self.adaptive.iter();
        out.extend(adaptive.map(|adaptive| ("adaptive".to_owned(), adaptive.show())));
        out.push(("http".to_owned(), self.http.show()));
        out.push(("grpc".to_owned(), self.grpc.show()));
    }

    fn outline_entries(&self, path: &str, rows: &mut Vec<Row>) {
        let at = |key: &str| join(path, key);
        self.file.outline(&at("file"), "strategies from a file; not with adaptive", rows);
        let adaptive = "strategies from what clients send; not with file";
        self.adaptive.outline(&at("adaptive"), adaptive, rows);
        self.http.outline(&at("http"), "", rows);
        self.grpc.outline(&at("grpc"), "", rows);
    }
}

section! {
    /// Strategies from a file.
    SamplingFile {
        path: String, "file of strategies in JSON, or its URL; empty gives every service the default probability";
        reload_interval: GoDuration = seconds(10), "interval of checks for changes; 0 is never";
        default_sampling_probability: f64 = 0.001, "probability for services that the file does not cover";
    }

    /// Strategies from what clients send.
    AdaptiveSampling {
        target_samples_per_second: f64 = 1.0, "sampled traces of each operation to aim at";
        delta_tolerance: f64 = 0.3, "a rate that is off by less than this share of the target changes nothing";
        calculation_interval: GoDuration = minutes(1), "time between calculations, and length of the intervals that are counted";
        calculation_delay: GoDuration = minutes(2), "delay between the end of the counted period and now, so that clients have adopted the last change";
        calculation_buckets: usize = 1, "intervals that enter a rate, the newest with the most weight";
        aggregation_buckets: usize = 10, "intervals that are kept; an operation not seen in any of them is forgotten";
        initial_sampling_probability: f64 = 0.001, "probability for operations about which nothing is known";
        min_sampling_probability: f64 = 0.00001, "lowest probability of an operation";
        min_samples_per_second: f64 = 1.0 / 60.0, "traces that each client samples of an operation whatever the probability";
        max_operations: usize = 50_000, "operations that are counted at a time";
        max_operations_per_tenant: usize = 5_000, "operations of a tenant that are counted at a time";
        refresh_interval: GoDuration = seconds(20), "interval at which the other distributors read the calculated probabilities";
        sampling_store: Opaque, "no effect here: counts are kept in the bucket of traces";
        leader_lease_refresh_interval: GoDuration = seconds(5), "no effect here: the ring of distributors says who calculates";
        follower_lease_refresh_interval: GoDuration = seconds(60), "no effect here: the ring of distributors says who calculates";
    }

    /// Strategies over HTTP.
    SamplingHttp {
        endpoint: Option<String>, "address to listen on; unset is port 5778 at server.http_listen_address, empty is off";
        tls: Option<PortTls>, "TLS; that of server.http_tls_config when absent";
    }

    /// Strategies over gRPC.
    SamplingGrpc {
        endpoint: Option<String>, "address to listen on; unset is port 5779 at server.grpc_listen_address, empty is off";
        tls: Option<PortTls>, "TLS; that of server.grpc_tls_config when absent";
    }
}

impl Sampling {
    /// What the environment says where the file names no provider, by Jaeger's names.
    ///
    /// Errors: name the variable.
    pub(crate) fn read_environment(
        &mut self,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<(), String> {
        if self.file.is_some() || self.adaptive.is_some() {
            return Ok(());
        }
        let given = |name: &str| env(name).filter(|value| !value.is_empty());
        let path = given("SAMPLING_STRATEGIES_FILE");
        let interval = given("SAMPLING_STRATEGIES_RELOAD_INTERVAL");
        match given("SAMPLING_CONFIG_TYPE").as_deref() {
            Some("adaptive") => {
                self.adaptive = Some(AdaptiveSampling::default());
                return Ok(());
            }
            Some("file") => {}
            None if path.is_some() => {}
            None => return Ok(()),
            Some(other) => {
                return Err(format!(
                    "SAMPLING_CONFIG_TYPE: unknown type {other}, expecting 'adaptive' or 'file'"
                ));
            }
        }
        let file = self.file.get_or_insert_default();
        file.path = path.unwrap_or_default();
        if let Some(interval) = interval {
            file.reload_interval = parse_go(&interval)
                .map_err(|error| format!("SAMPLING_STRATEGIES_RELOAD_INTERVAL: {error}"))?;
        }
        Ok(())
    }

    /// Rules that need nothing but the section. Errors: name the key.
    pub(crate) fn check(&self) -> Result<(), String> {
        match (&self.file, &self.adaptive) {
            (Some(_), Some(_)) => Err(TWO_PROVIDERS.to_owned()),
            (Some(file), None) => file.check(),
            (None, Some(adaptive)) => adaptive.check(),
            (None, None) => Ok(()),
        }
    }
}

impl SamplingFile {
    fn check(&self) -> Result<(), String> {
        let key = "file.default_sampling_probability";
        within(key, self.default_sampling_probability, 0.0, 1.0)?;
        not_negative("file.reload_interval", self.reload_interval)
    }
}

impl AdaptiveSampling {
    fn check(&self) -> Result<(), String> {
        let at_least_one = |key: &str, count: usize, most: usize| match count {
            0 => Err(format!("sampling.adaptive.{key}: must not be 0")),
            count if count > most => Err(format!("sampling.adaptive.{key}: {most} at most")),
            _ => Ok(()),
        };
        if self.calculation_interval.non_zero().is_none() {
            return Err("sampling.adaptive.calculation_interval: must not be 0".to_owned());
        }
        if self.refresh_interval.non_zero().is_none() {
            return Err("sampling.adaptive.refresh_interval: must not be 0".to_owned());
        }
        not_negative("adaptive.calculation_delay", self.calculation_delay)?;
        at_least_one("aggregation_buckets", self.aggregation_buckets, MAX_BUCKETS)?;
        at_least_one("calculation_buckets", self.calculation_buckets, MAX_BUCKETS)?;
        at_least_one("max_operations", self.max_operations, usize::MAX)?;
        at_least_one("max_operations_per_tenant", self.max_operations_per_tenant, usize::MAX)?;
        let target = self.target_samples_per_second;
        within("adaptive.target_samples_per_second", target, f64::MIN_POSITIVE, f64::MAX)?;
        within("adaptive.delta_tolerance", self.delta_tolerance, 0.0, f64::MAX)?;
        within("adaptive.min_samples_per_second", self.min_samples_per_second, 0.0, f64::MAX)?;
        let least = self.min_sampling_probability;
        within("adaptive.min_sampling_probability", least, f64::MIN_POSITIVE, 1.0)?;
        let initial = self.initial_sampling_probability;
        within("adaptive.initial_sampling_probability", initial, least, 1.0)
    }
}

fn within(key: &str, value: f64, least: f64, most: f64) -> Result<(), String> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(match (least == f64::MIN_POSITIVE, most == f64::MAX) {
        (true, true) => format!("sampling.{key}: {value} is not above 0"),
        (false, true) => format!("sampling.{key}: {value} is below {least}"),
        (true, false) => format!("sampling.{key}: {value} is not above 0 and at most {most}"),
        (false, false) => format!("sampling.{key}: {value} is not between {least} and {most}"),
    })
}

fn not_negative(key: &str, duration: GoDuration) -> Result<(), String> {
    match duration.as_nanos() {
        0.. => Ok(()),
        _ => Err(format!("sampling.{key}: {duration} is negative")),
    }
}

#[cfg(test)]
mod tests;
