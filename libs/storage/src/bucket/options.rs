//! Options for reading and writing objects, the same for every store.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;
use object_store::{Attribute, Attributes, PutMode, PutMultipartOptions, PutOptions, TagSet};

use tactus_config::GoDuration;
use tactus_config::sections::object_store::{Azure, Gcs, S3};

use super::client::check_header;
use crate::error::{Error, Result};

/// Smallest part that S3 and Google take in a multipart upload, except the last.
pub(super) const MIN_PART_BYTES: u64 = 5 << 20;
/// Part size when none is configured.
pub(super) const DEFAULT_PART_BYTES: u64 = 8 << 20;
/// Parts of one object in flight, to S3 and Google: they and the part size bound the memory of an upload.
const UPLOAD_CONCURRENCY: usize = 3;

/// The most parts that are planned for one object. S3 and Google accept 10 000.
const MAX_PARTS: u64 = 9000;
/// Past [`MAX_PARTS`] the part size doubles after each this many parts.
const PARTS_UNTIL_DOUBLED: u64 = 250;

/// Sizes and bounds of transfers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transfer {
    /// Smallest part of an upload, in bytes.
    pub(super) part_bytes: u64,
    /// Parts of one object in flight.
    pub(super) upload_concurrency: usize,
    /// When a read is sent again, and how many may be in flight.
    pub(super) hedge: Option<(Duration, usize)>,
}

impl Default for Transfer {
    fn default() -> Self {
        Self { part_bytes: DEFAULT_PART_BYTES, upload_concurrency: 1, hedge: None }
    }
}

impl Transfer {
    pub(super) fn of_s3(settings: &S3) -> Self {
        let configured = settings.part_size;
        Self {
            part_bytes: if configured == 0 { DEFAULT_PART_BYTES } else { configured },
            upload_concurrency: UPLOAD_CONCURRENCY,
            hedge: hedge(settings.hedge_requests_at, settings.hedge_requests_up_to),
        }
    }

    pub(super) fn of_gcs(settings: &Gcs) -> Self {
        Self {
            part_bytes: settings.chunk_buffer_size.max(MIN_PART_BYTES),
            upload_concurrency: UPLOAD_CONCURRENCY,
            hedge: hedge(settings.hedge_requests_at, settings.hedge_requests_up_to),
        }
    }

    pub(super) fn of_azure(settings: &Azure) -> Self {
        Self {
            part_bytes: settings.buffer_size.max(1 << 20),
            upload_concurrency: settings.max_buffers.max(1) as usize,
            hedge: hedge(settings.hedge_requests_at, settings.hedge_requests_up_to),
        }
    }

    /// Part size for an object of `object_bytes`, so that it has at most [`MAX_PARTS`] parts.
    pub(super) fn part_bytes_for(&self, object_bytes: u64) -> u64 {
        self.part_bytes.max(object_bytes.div_ceil(MAX_PARTS))
    }
}

fn hedge(at: GoDuration, up_to: u32) -> Option<(Duration, usize)> {
    at.non_zero().filter(|_| up_to > 1).map(|after| (after, up_to as usize))
}

/// The size of part `number` (from 0) if parts have `part_bytes` at first. Late parts are larger, so that an object
/// that is much larger than expected still fits into the parts that a store accepts.
pub(super) fn grown_part_bytes(part_bytes: u64, number: u64) -> u64 {
    let doublings = number.saturating_sub(MAX_PARTS - PARTS_UNTIL_DOUBLED) / PARTS_UNTIL_DOUBLED;
    part_bytes.saturating_mul(1 << doublings.min(8))
}

/// What every object is written with.
#[derive(Debug, Clone, Default)]
pub(super) struct WriteOptions {
    attributes: Attributes,
    tags: TagSet,
}

impl WriteOptions {
    pub(super) fn of_s3(settings: &S3) -> Result<Self> {
        let mut attributes = metadata("s3 metadata", &settings.metadata)?;
        if !settings.storage_class.is_empty() {
            check_header("s3 storage_class", &settings.storage_class)?;
            attributes.insert(Attribute::StorageClass, settings.storage_class.clone().into());
        }
        let mut tags = TagSet::default();
        for (key, value) in &settings.tags {
            tags.push(key, value);
        }
        Ok(Self { attributes, tags })
    }

    pub(super) fn of_gcs(settings: &Gcs) -> Result<Self> {
        let mut attributes = metadata("gcs object_metadata", &settings.object_metadata)?;
        let control = &settings.object_cache_control;
        if !control.is_empty() {
            check_header("gcs object_cache_control", control)?;
            attributes.insert(Attribute::CacheControl, control.clone().into());
        }
        Ok(Self { attributes, tags: TagSet::default() })
    }

    pub(super) fn put(&self, mode: PutMode) -> PutOptions {
        PutOptions {
            mode,
            attributes: self.attributes.clone(),
            tags: self.tags.clone(),
            ..PutOptions::default()
        }
    }

    pub(super) fn multipart(&self) -> PutMultipartOptions {
        PutMultipartOptions {
            attributes: self.attributes.clone(),
            tags: self.tags.clone(),
            ..PutMultipartOptions::default()
        }
    }
}

/// Errors: a name or a value that no header can have.
fn metadata(what: &'static str, entries: &BTreeMap<String, String>) -> Result<Attributes> {
    let mut attributes = Attributes::new();
    for (key, value) in entries {
        HeaderName::from_bytes(key.as_bytes())
            .map_err(|_| Error::invalid(what, format!("{key:?} is no name of a header")))?;
        check_header(what, value)?;
        attributes.insert(Attribute::Metadata(key.clone().into()), value.clone().into());
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_size_keeps_a_large_object_within_the_part_limit() {
        let transfer = Transfer::default();
        assert_eq!(transfer.part_bytes_for(1), DEFAULT_PART_BYTES);
        let large = 107_374_182_400;
        assert!(large / transfer.part_bytes_for(large) <= MAX_PARTS);
    }

    #[test]
    fn parts_grow_only_past_the_expected_number_and_end_below_the_stores_limit() {
        let size = |number| grown_part_bytes(8, number);
        assert_eq!((size(0), size(MAX_PARTS - 1)), (8, 8));
        assert_eq!(size(MAX_PARTS), 16);
        assert_eq!(size(9999), 8 << 4);
        assert!((0..10_000).map(size).sum::<u64>() > 8 * 2 * MAX_PARTS - 8 * 2000);
        assert!(size(u64::MAX) < 8 << 9);
    }

    #[test]
    fn what_no_header_can_have_is_refused_with_its_key() {
        let pair = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let s3 = |metadata, storage_class: &str| {
            let storage_class = storage_class.to_owned();
            WriteOptions::of_s3(&S3 { metadata, storage_class, ..S3::default() })
        };
        let gcs = |object_metadata, control: &str| {
            let object_cache_control = control.to_owned();
            WriteOptions::of_gcs(&Gcs { object_metadata, object_cache_control, ..Gcs::default() })
        };
        assert!(s3(pair("team-name", "tracing"), "STANDARD_IA").is_ok());
        assert!(gcs(pair("team", "x y"), "no-store").is_ok());
        for (options, key) in [
            (s3(pair("team name", "x"), ""), "s3 metadata"),
            (s3(pair("team", "x\n"), ""), "s3 metadata"),
            (s3(BTreeMap::new(), "STANDARD\n"), "s3 storage_class"),
            (gcs(pair("a:b", "x"), ""), "gcs object_metadata"),
            (gcs(BTreeMap::new(), "no-store\n"), "gcs object_cache_control"),
        ] {
            let error = options.unwrap_err();
            assert!(matches!(error, Error::Invalid { what, .. } if what == key), "{error}");
        }
    }
}
