//! Stores counts and probabilities in the root of the bucket, where tenants have no objects:
//!
//! ```text
//! tactus-sampling.counts.<end of the interval, unix ms>.<distributor>.<run>.json
//! tactus-sampling.probabilities.json
//! ```

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use serde::{Deserialize, Serialize};
use tactus_storage::Bucket;

use super::by_operation::{ByOperation, OperationLimits};
use super::calculate::Calculated;
use super::counter::OperationCount;
use crate::{Error, Metrics};

const PREFIX: &str = "tactus-sampling.counts.";
const SUFFIX: &str = ".json";
const PROBABILITIES: &str = "tactus-sampling.probabilities.json";
/// The version of both documents.
const VERSION: u32 = 1;
/// Digits of the time in a key. The number is fixed, so that keys sort by time.
const STAMP_DIGITS: usize = 14;
/// Larger objects are not read.
const MAX_OBJECT_BYTES: u64 = 256 << 20;
/// Objects that are read at the same time.
const CONCURRENCY: usize = 8;

type Tenants<T> = BTreeMap<String, BTreeMap<String, BTreeMap<String, T>>>;

#[derive(Serialize, Deserialize)]
struct CountsDocument {
    version: u32,
    tenants: Tenants<OperationCount>,
}

#[derive(Serialize, Deserialize)]
struct RoundDocument {
    version: u32,
    /// The process that calculated it. Only for people who read the object.
    instance: String,
    until_unix_ms: u64,
    tenants: Tenants<Calculated>,
}

/// The result of a calculation, and the end of the time that it covers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Round {
    pub(super) until: u64,
    pub(super) operations: ByOperation<Calculated>,
}

/// An object with what one process counted in the interval that ended at `stamp` (unix milliseconds).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CountsObject {
    pub(super) stamp: u64,
    pub(super) key: String,
    pub(super) bytes: u64,
}

#[derive(Debug)]
pub(super) struct Store {
    bucket: Bucket,
    metrics: Metrics,
    limits: OperationLimits,
}

impl Store {
    pub(super) fn new(bucket: Bucket, metrics: Metrics, limits: OperationLimits) -> Self {
        Self { bucket, metrics, limits }
    }

    /// `name`: of the process; different each time it starts.
    pub(super) async fn put_counts(
        &self,
        stamp: u64,
        name: &str,
        counts: ByOperation<OperationCount>,
    ) -> Result<(), Error> {
        let key = counts_key(stamp, name);
        let document = move || CountsDocument { version: VERSION, tenants: counts.into_maps() };
        let bytes = to_bytes(&key, document).await?;
        Ok(self.bucket.put(&key, bytes.into()).await?)
    }

    /// Lists the counts of all processes.
    pub(super) async fn list_counts(&self) -> Result<Vec<CountsObject>, Error> {
        let files = self.bucket.list_files("", PREFIX).await?;
        let object = |file: tactus_storage::bucket::ObjectInfo| {
            let stamp = parse_stamp(&file.key)?;
            Some(CountsObject { stamp, key: file.key, bytes: file.size })
        };
        Ok(files.into_iter().filter_map(object).collect())
    }

    /// The sum of those of `listed` whose time stamp is in `stamps`; empty if there are none. What cannot be parsed is
    /// logged and ignored.
    pub(super) async fn sum(
        &self,
        listed: &[CountsObject],
        stamps: Range<u64>,
    ) -> Result<ByOperation<OperationCount>, Error> {
        // Owned, because a future over borrowed ones is not `Send`.
        let wanted: Vec<CountsObject> =
            listed.iter().filter(|object| stamps.contains(&object.stamp)).cloned().collect();
        let mut objects = stream::iter(wanted)
            .map(|object| async move { (self.read_counts(&object).await, object.key) })
            .buffered(CONCURRENCY);
        let mut sum = ByOperation::default();
        while let Some((read, key)) = objects.next().await {
            let Some(bytes) = read? else { continue };
            let limits = self.limits;
            let add = move || {
                let parsed = parse_counts(&bytes);
                let added = parsed.map(|document| add_all(&mut sum, &document, limits));
                (sum, added)
            };
            let added;
            (sum, added) = blocking(&key, add).await?;
            if let Err(reason) = added {
                self.damaged(&key, &reason);
            }
        }
        Ok(sum)
    }

    /// The bytes of an object; `None` if there is none any more, or if it is too large.
    async fn read_counts(&self, object: &CountsObject) -> Result<Option<Bytes>, Error> {
        if object.bytes > MAX_OBJECT_BYTES {
            self.damaged(&object.key, &format!("{} bytes", object.bytes));
            return Ok(None);
        }
        match self.bucket.get_at_most(&object.key, MAX_OBJECT_BYTES).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn delete(&self, keys: Vec<String>) -> Result<(), Error> {
        Ok(self.bucket.delete_all(keys).await?)
    }

    /// The last result and its version; `None` if there is none, or if it cannot be parsed.
    pub(super) async fn round(&self) -> Result<Option<(Round, String)>, Error> {
        let (bytes, version) =
            match self.bucket.get_with_version(PROBABILITIES, MAX_OBJECT_BYTES).await {
                Ok(found) => found,
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error.into()),
            };
        let parsed = blocking(PROBABILITIES, move || parse_round(&bytes)).await;
        let parsed = parsed.unwrap_or_else(|error| Err(error.to_string()));
        let parsed = parsed.map_err(|reason| self.damaged(PROBABILITIES, &reason));
        Ok(parsed.ok().map(|round| (round, version)))
    }

    pub(super) async fn put_round(&self, instance: &str, round: Round) -> Result<(), Error> {
        let instance = instance.to_owned();
        let document = move || RoundDocument {
            version: VERSION,
            instance,
            until_unix_ms: round.until,
            tenants: round.operations.into_maps(),
        };
        let bytes = to_bytes(PROBABILITIES, document).await?;
        Ok(self.bucket.put(PROBABILITIES, bytes.into()).await?)
    }

    fn damaged(&self, key: &str, reason: &str) {
        self.metrics.damaged_objects.inc();
        tracing::warn!(key, reason, "an object of adaptive sampling cannot be used and is ignored");
    }
}

fn counts_key(stamp: u64, name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    format!("{PREFIX}{stamp:0STAMP_DIGITS$}.{name}{SUFFIX}")
}

fn parse_stamp(key: &str) -> Option<u64> {
    let rest = key.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let (stamp, _) = rest.split_once('.')?;
    (stamp.len() == STAMP_DIGITS).then(|| stamp.parse().ok()).flatten()
}

/// The JSON of a document, which may have many megabytes.
async fn to_bytes<T: Serialize>(
    key: &str,
    document: impl FnOnce() -> T + Send + 'static,
) -> Result<Vec<u8>, Error> {
    let bytes = blocking(key, move || serde_json::to_vec(&document())).await?;
    bytes.map_err(|error| damage(key, &error))
}

/// Runs work that takes long off the async runtime. `key` is for the error if it panics.
pub(super) async fn blocking<T: Send + 'static>(
    key: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| damage(key, &error))
}

fn damage(key: &str, error: &impl ToString) -> Error {
    Error::Damaged { key: key.to_owned(), reason: error.to_string() }
}

fn add_all(
    sum: &mut ByOperation<OperationCount>,
    document: &CountsDocument,
    limits: OperationLimits,
) {
    for (tenant, services) in &document.tenants {
        for (service, operations) in services {
            for (operation, count) in operations {
                if let Some(entry) = sum.entry(tenant, service, operation, limits) {
                    entry.add(count);
                }
            }
        }
    }
}

fn parse_counts(bytes: &[u8]) -> Result<CountsDocument, String> {
    let document: CountsDocument =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    check_version(document.version)?;
    Ok(document)
}

fn parse_round(bytes: &[u8]) -> Result<Round, String> {
    let document: RoundDocument =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    check_version(document.version)?;
    let mut operations = ByOperation::default();
    for (tenant, services) in document.tenants {
        for (service, calculated) in services {
            for (operation, found) in calculated {
                let is_probability = |value: f64| (0.0..=1.0).contains(&value);
                if !is_probability(found.probability) || !is_probability(found.previous) {
                    return Err(format!("probability of {operation} of {service}"));
                }
                operations.insert(&tenant, &service, &operation, found);
            }
        }
    }
    Ok(Round { until: document.until_unix_ms, operations })
}

fn check_version(version: u32) -> Result<(), String> {
    if version == VERSION { Ok(()) } else { Err(format!("unknown version {version}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn key_tells_the_time_and_is_no_tenant() {
        let key = counts_key(1_700_000_000_000, "host/1.é");
        assert_eq!(key, "tactus-sampling.counts.01700000000000.host_1__.json");
        assert_eq!(parse_stamp(&key), Some(1_700_000_000_000));
        for other in [
            PROBABILITIES,
            "tactus-sampling.counts.1700000000000.a.json",
            "tactus-sampling.counts.01700000000000.json",
            "work.json",
        ] {
            assert_eq!(parse_stamp(other), None, "{other}");
        }
    }

    #[test]
    fn probabilities_out_of_range_are_damage() {
        let document = |version: u32, probability: &str| {
            format!(
                r#"{{"version":{version},"instance":"a","until_unix_ms":7,"tenants":{{"t":{{"s":{{"o":
                {{"probability":{probability},"previous":0.5,"rate":1,"adaptive":true}}}}}}}}}}"#
            )
        };
        let round = parse_round(document(1, "0.25").as_bytes()).unwrap();
        assert_eq!(round.until, 7);
        assert_eq!(round.operations.get("t", "s", "o").unwrap().probability, 0.25);
        assert_eq!(
            parse_round(document(1, "1.5").as_bytes()).unwrap_err(),
            "probability of o of s"
        );
        assert_eq!(parse_round(document(2, "0.5").as_bytes()).unwrap_err(), "unknown version 2");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = (parse_counts(&bytes), parse_round(&bytes));
        }
    }
}
