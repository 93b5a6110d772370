//! Block metas: `meta.json`, `meta.compacted.json`, and their protobuf form in the tenant index.
//!
//! Written in the shape of Tempo 2.10, which 3.0 reads too. Read leniently: keys in any case,
//! unknown keys, nulls, times with any offset.

mod bounded;
mod dedicated;
mod extension;
pub(crate) mod json;
pub(crate) mod lenient;
pub(crate) mod proto;
mod shared;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tactus_model::{CutTraces, OriginSet};
use uuid::Uuid;

use crate::error::{Error, Result};

pub use dedicated::{
    ColumnOption, ColumnScope, ColumnType, DedicatedColumn, SLOTS_OF_VPARQUET4, columns_hash,
    columns_of_version, default_columns, filter_for_vparquet4, validate_columns,
};
pub use extension::{Extension, MAX_SOURCES, SummaryParts, block_origin};

/// Seconds of `0001-01-01T00:00:00Z`, the time of a meta that has none.
const ZERO_TIME_SECONDS: i64 = -62_135_596_800;

/// Memory of a meta in the block list, without its texts and lists.
const META_BYTES: usize = size_of::<BlockMeta>() + 256;

/// How far beyond a block's time range the starts of its spans are noted, in seconds.
const MOST_LATE_SECONDS: i64 = 6 * 3_600;

/// Clocks differ, but a time that lies further ahead than this is that of a clock that was wrong.
pub(crate) const MAX_AHEAD: SignedDuration = SignedDuration::from_hours(1);

tactus_model::words! {
    /// The block versions this product knows.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum BlockVersion: as_str {
        /// `vParquet3`, read only.
        VParquet3 = "vParquet3",
        /// `vParquet4`.
        VParquet4 = "vParquet4",
        /// `vParquet5`.
        VParquet5 = "vParquet5",
    }
}

impl fmt::Display for BlockVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BlockVersion {
    type Err = Error;

    /// Exact names only; `Error::Invalid` for every other.
    fn from_str(name: &str) -> Result<Self> {
        Self::from_text(name).ok_or_else(|| {
            Error::invalid("block version", format!("{name} is not a valid block version"))
        })
    }
}

/// Compression of the pages of a pre-Parquet block; `none` for everything this product writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageEncoding(u8);

/// By protobuf byte.
const ENCODINGS: [&str; 9] =
    ["none", "gzip", "lz4-64k", "lz4-256k", "lz4-1M", "lz4", "snappy", "zstd", "s2"];

impl PageEncoding {
    /// The name in `meta.json`.
    pub fn as_str(self) -> &'static str {
        ENCODINGS.get(usize::from(self.0)).copied().unwrap_or(ENCODINGS[0])
    }

    fn from_name(name: &str) -> Option<Self> {
        let code = ENCODINGS.iter().position(|known| *known == name)?;
        u8::try_from(code).ok().map(Self)
    }

    fn from_code(code: u8) -> Option<Self> {
        (usize::from(code) < ENCODINGS.len()).then_some(Self(code))
    }
}

/// The meta of one block.
///
/// `Default` is the all-zero meta: nil id, times of year 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockMeta {
    /// Block version as written; kept as text so that a newer one stays listed.
    pub format: String,
    /// Block id.
    #[serde(rename = "blockID", serialize_with = "json::uuid")]
    pub block_id: Uuid,
    /// Raw tenant id.
    #[serde(rename = "tenantID")]
    pub tenant_id: String,
    /// Start of the earliest trace.
    #[serde(serialize_with = "json::time")]
    pub start_time: Timestamp,
    /// End of the latest trace.
    #[serde(serialize_with = "json::time")]
    pub end_time: Timestamp,
    /// Traces in the block.
    pub total_objects: u64,
    /// Exact bytes of `data.parquet`; 0 means the block is never searched.
    #[serde(skip_serializing_if = "is_default")]
    pub size: u64,
    /// 0 for a fresh block, else one more than its highest input.
    pub compaction_level: u32,
    /// `none`, except in blocks older than Parquet.
    #[serde(serialize_with = "json::encoding")]
    pub encoding: PageEncoding,
    /// Always 0 for Parquet.
    pub index_page_size: u32,
    /// Row groups. Tempo sometimes writes one more: clamp to the file when reading.
    pub total_records: u32,
    /// Always empty for Parquet.
    pub data_encoding: String,
    /// Bloom files as written; use [`BlockMeta::bloom_shard_count`].
    pub bloom_shards: u32,
    /// Thrift footer bytes of `data.parquet`; 0 when unknown.
    pub footer_size: u32,
    /// In order of column assignment. Blocks that were read with the same columns share the list.
    #[serde(skip_serializing_if = "json::is_empty", serialize_with = "json::columns")]
    pub dedicated_columns: Arc<[DedicatedColumn]>,
    /// 1 for blocks that exist once; 0 for blocks that replicated ingesters wrote.
    #[serde(skip_serializing_if = "is_default")]
    pub replication_factor: u32,
    /// What only this product knows of a block. Others ignore it, and lose it when they rewrite the block.
    #[serde(rename = "tactus", skip_serializing_if = "Option::is_none")]
    pub extension: Option<Box<Extension>>,
}

impl Default for BlockMeta {
    fn default() -> Self {
        Self {
            format: String::new(),
            block_id: Uuid::nil(),
            tenant_id: String::new(),
            start_time: zero_time(),
            end_time: zero_time(),
            total_objects: 0,
            size: 0,
            compaction_level: 0,
            encoding: PageEncoding::default(),
            index_page_size: 0,
            total_records: 0,
            data_encoding: String::new(),
            bloom_shards: 0,
            footer_size: 0,
            dedicated_columns: Arc::default(),
            replication_factor: 0,
            extension: None,
        }
    }
}

impl BlockMeta {
    /// A meta with version, tenant and id; everything else zero.
    pub fn new(version: BlockVersion, tenant: &str, block_id: Uuid) -> Self {
        Self {
            format: version.as_str().into(),
            tenant_id: tenant.into(),
            block_id,
            ..Self::default()
        }
    }

    /// The block version; `Error::Invalid` with the text that clients see for an unknown one.
    pub fn version(&self) -> Result<BlockVersion> {
        self.format.parse()
    }

    /// True when this release reads blocks of this version.
    pub(crate) fn is_readable(&self) -> bool {
        BlockVersion::from_text(&self.format).is_some()
    }

    /// The blocks that this one replaces; empty for a fresh block or one that another product wrote.
    pub fn sources(&self) -> &[Uuid] {
        self.extension.as_ref().map_or(&[], |extension| &extension.sources)
    }

    /// The pushes whose spans are all in this block, and those of which some are.
    pub fn origins(&self) -> (&OriginSet, &OriginSet) {
        static NONE: OriginSet = OriginSet::new();
        self.extension
            .as_ref()
            .map_or((&NONE, &NONE), |extension| (&extension.origins, &extension.incomplete_origins))
    }

    /// Of the pushes that are all in this block, those of which tail sampling left traces out.
    pub fn thinned_origins(&self) -> &OriginSet {
        static NONE: OriginSet = OriginSet::new();
        self.extension.as_ref().map_or(&NONE, |extension| &extension.thinned_origins)
    }

    /// Traces of which the block has not all spans, because some were refused.
    pub fn cut_traces(&self) -> &CutTraces {
        static NONE: CutTraces = CutTraces::new();
        self.extension.as_ref().map_or(&NONE, |extension| &extension.cut_traces)
    }

    /// What lies in the block's summary, if it has one.
    pub fn summary(&self) -> Option<SummaryParts> {
        self.extension.as_ref()?.summary
    }

    /// Memory of the meta in a block list, in bytes, about. A list of columns that others have too counts nothing.
    pub fn memory_bytes(&self) -> u64 {
        let columns: usize = match Arc::strong_count(&self.dedicated_columns) {
            1 => self.dedicated_columns.iter().map(DedicatedColumn::memory_bytes).sum(),
            _ => 0,
        };
        let texts = self.format.len() + self.tenant_id.len() + self.data_encoding.len();
        let extension = self.extension.as_ref().map_or(0, |extension| extension.memory_bytes());
        (META_BYTES + texts + columns + extension) as u64
    }

    /// Bloom files of the block: a meta without a count means 10.
    pub fn bloom_shard_count(&self) -> u32 {
        if self.bloom_shards == 0 { 10 } else { self.bloom_shards }
    }

    /// Start in whole seconds since 1970, rounded down.
    pub fn start_unix_seconds(&self) -> i64 {
        floor_seconds(self.start_time)
    }

    /// End in whole seconds since 1970, rounded down.
    pub fn end_unix_seconds(&self) -> i64 {
        floor_seconds(self.end_time)
    }

    /// The end, or the start if that is later: a meta that contradicts itself must not make the block older than it is.
    pub fn last_time(&self) -> Timestamp {
        self.start_time.max(self.end_time)
    }

    /// Sets the time range from nanoseconds since 1970.
    pub fn set_time_range_unix_nanos(&mut self, start: u64, end: u64) {
        self.start_time = time_from_unix_nanos(start);
        self.end_time = time_from_unix_nanos(end);
    }

    /// Notes from where to where spans start, unix nanoseconds, if that is not within the block's time range, which leaves
    /// out spans that came late. Another block may have a copy of these, sent at another time. Six hours are noted at most,
    /// because a sender with a wrong clock would make all blocks look alike.
    pub fn note_starts(&mut self, first: u64, last: u64) {
        let (start, end) = (self.start_unix_seconds(), self.end_unix_seconds() + 1);
        let seconds = |nanos: u64| (nanos / 1_000_000_000) as i64;
        let first = seconds(first).clamp(start.saturating_sub(MOST_LATE_SECONDS), start);
        let last = (seconds(last) + 1).clamp(end, end.saturating_add(MOST_LATE_SECONDS));
        let is_wider = (first, last) != (start, end);
        if is_wider || self.extension.is_some() {
            let starts = is_wider.then_some((first, last));
            self.extension.get_or_insert_default().starts = starts;
        }
    }

    /// What [`Self::note_starts`] noted.
    pub fn starts(&self) -> Option<(i64, i64)> {
        self.extension.as_ref()?.starts
    }

    /// Hash of the dedicated columns: blocks with different ones are never compacted together.
    pub fn dedicated_columns_hash(&self) -> u64 {
        columns_hash(&self.dedicated_columns)
    }

    /// The bytes of `meta.json`.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a meta holds only strings and numbers")
    }

    /// Parses `meta.json` or `meta.compacted.json`; `Error::Corrupt` without a key otherwise.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        lenient::parse(bytes)
    }

    /// The protobuf message as the tenant index holds it.
    #[cfg(test)]
    pub(crate) fn to_proto(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(&proto::BlockMeta::from(self))
    }

    /// Parses the protobuf message of either Tempo version.
    #[cfg(test)]
    pub(crate) fn from_proto(bytes: &[u8]) -> Result<Self> {
        let message: proto::BlockMeta = prost::Message::decode(bytes)
            .map_err(|_| Error::corrupt("protobuf of block meta", 0))?;
        message.try_into()
    }
}

/// A block that is not searched any more, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CompactedBlockMeta {
    /// The block's meta as it was.
    #[serde(flatten)]
    pub meta: BlockMeta,
    /// When it was marked: last modification of `meta.compacted.json`.
    #[serde(rename = "compactedTime", serialize_with = "json::time")]
    pub compacted_time: Timestamp,
}

impl CompactedBlockMeta {
    /// True while queries must still read the block, so that nothing disappears between two
    /// polls: for twice the poll interval.
    pub(crate) fn is_still_queried(&self, now: Timestamp, poll_interval: Duration) -> bool {
        let grace = SignedDuration::try_from(poll_interval.saturating_mul(2));
        let age = now.duration_since(self.compacted_time);
        grace.map_or(true, |grace| age <= grace && -age <= grace.max(MAX_AHEAD))
    }
}

/// A timestamp from nanoseconds since 1970.
pub fn time_from_unix_nanos(nanos: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanos)).expect("u64 nanoseconds end before year 2555")
}

pub(crate) fn zero_time() -> Timestamp {
    Timestamp::from_second(ZERO_TIME_SECONDS).expect("year 1 is within the range of a timestamp")
}

pub(crate) fn floor_seconds(time: Timestamp) -> i64 {
    time.as_second() - i64::from(time.subsec_nanosecond() < 0)
}

/// Zero, or empty: what is not written.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests;
