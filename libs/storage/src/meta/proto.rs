//! Protobuf of block metas, as the tenant index holds them.
//!
//! Fields 2, 6, 7, 11 and 17 are written even when empty, as Tempo 2.10 does; 3.0 drops 11 and 14.

use std::sync::Arc;

use jiff::Timestamp;
use prost::Message;
use uuid::Uuid;

use super::{Extension, PageEncoding, floor_seconds, zero_time};
use crate::error::{Error, Result};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        let nanos = time.subsec_nanosecond();
        Self { seconds: floor_seconds(time), nanos: nanos.rem_euclid(1_000_000_000) }
    }
}

impl TryFrom<Time> for Timestamp {
    type Error = Error;

    fn try_from(time: Time) -> Result<Self> {
        Self::new(time.seconds, time.nanos).map_err(|_| Error::corrupt("timestamp in protobuf", 0))
    }
}

pub(crate) fn time_or_zero(time: Option<Time>) -> Result<Timestamp> {
    time.map_or_else(|| Ok(zero_time()), Timestamp::try_from)
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BlockMeta {
    #[prost(string, tag = "1")]
    format: String,
    #[prost(bytes = "vec", optional, tag = "2")]
    block_id: Option<Vec<u8>>,
    #[prost(string, tag = "5")]
    tenant_id: String,
    #[prost(message, optional, tag = "6")]
    start_time: Option<Time>,
    #[prost(message, optional, tag = "7")]
    end_time: Option<Time>,
    #[prost(int64, tag = "8")]
    total_objects: i64,
    #[prost(uint64, tag = "9")]
    size: u64,
    #[prost(uint32, tag = "10")]
    compaction_level: u32,
    #[prost(bytes = "vec", optional, tag = "11")]
    encoding: Option<Vec<u8>>,
    #[prost(uint32, tag = "12")]
    index_page_size: u32,
    #[prost(uint32, tag = "13")]
    total_records: u32,
    #[prost(string, tag = "14")]
    data_encoding: String,
    #[prost(uint32, tag = "15")]
    bloom_shards: u32,
    #[prost(uint32, tag = "16")]
    footer_size: u32,
    #[prost(bytes = "vec", optional, tag = "17")]
    dedicated_columns: Option<Vec<u8>>,
    #[prost(uint32, tag = "18")]
    replication_factor: u32,
    #[prost(bytes = "vec", optional, tag = "1000")]
    extension: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CompactedBlockMeta {
    #[prost(message, optional, tag = "1")]
    meta: Option<BlockMeta>,
    #[prost(message, optional, tag = "2")]
    compacted_time: Option<Time>,
}

impl From<&super::BlockMeta> for BlockMeta {
    fn from(meta: &super::BlockMeta) -> Self {
        let columns = if meta.dedicated_columns.is_empty() {
            Vec::new()
        } else {
            serde_json::to_vec(&*meta.dedicated_columns).expect("columns hold only strings")
        };
        Self {
            format: meta.format.clone(),
            block_id: Some(meta.block_id.as_bytes().to_vec()),
            tenant_id: meta.tenant_id.clone(),
            start_time: Some(meta.start_time.into()),
            end_time: Some(meta.end_time.into()),
            total_objects: i64::try_from(meta.total_objects).unwrap_or(i64::MAX),
            size: meta.size,
            compaction_level: meta.compaction_level,
            encoding: Some(vec![meta.encoding.0]),
            index_page_size: meta.index_page_size,
            total_records: meta.total_records,
            data_encoding: meta.data_encoding.clone(),
            bloom_shards: meta.bloom_shards,
            footer_size: meta.footer_size,
            dedicated_columns: Some(columns),
            replication_factor: meta.replication_factor,
            extension: meta.extension.as_ref().map(|extension| {
                serde_json::to_vec(extension).expect("an extension holds only strings")
            }),
        }
    }
}

impl TryFrom<BlockMeta> for super::BlockMeta {
    type Error = Error;

    fn try_from(meta: BlockMeta) -> Result<Self> {
        let corrupt = |what| Error::corrupt(what, 0);
        let block_id = match meta.block_id {
            Some(bytes) => Uuid::from_slice(&bytes).map_err(|_| corrupt("block id in protobuf"))?,
            None => Uuid::nil(),
        };
        let encoding = match meta.encoding.as_deref() {
            None => PageEncoding::default(),
            Some([code]) => PageEncoding::from_code(*code).ok_or_else(|| corrupt("encoding"))?,
            Some(_) => return Err(corrupt("encoding in protobuf")),
        };
        let dedicated_columns = match meta.dedicated_columns.as_deref() {
            None | Some([]) => Arc::default(),
            Some(json) => super::shared::columns_of_json(json)?,
        };
        Ok(Self {
            format: meta.format,
            block_id,
            tenant_id: meta.tenant_id,
            start_time: time_or_zero(meta.start_time)?,
            end_time: time_or_zero(meta.end_time)?,
            total_objects: u64::try_from(meta.total_objects)
                .map_err(|_| corrupt("object count in protobuf"))?,
            size: meta.size,
            compaction_level: meta.compaction_level,
            encoding,
            index_page_size: meta.index_page_size,
            total_records: meta.total_records,
            data_encoding: meta.data_encoding,
            bloom_shards: meta.bloom_shards,
            footer_size: meta.footer_size,
            dedicated_columns,
            replication_factor: meta.replication_factor,
            extension: meta
                .extension
                .and_then(|json| serde_json::from_slice::<Extension>(&json).ok())
                .and_then(Extension::usable),
        })
    }
}

impl From<&super::CompactedBlockMeta> for CompactedBlockMeta {
    fn from(compacted: &super::CompactedBlockMeta) -> Self {
        Self {
            meta: Some((&compacted.meta).into()),
            compacted_time: Some(compacted.compacted_time.into()),
        }
    }
}

impl TryFrom<CompactedBlockMeta> for super::CompactedBlockMeta {
    type Error = Error;

    fn try_from(compacted: CompactedBlockMeta) -> Result<Self> {
        let meta = compacted.meta.ok_or_else(|| Error::corrupt("compacted meta in protobuf", 0))?;
        let compacted_time = time_or_zero(compacted.compacted_time)?;
        Ok(Self { meta: meta.try_into()?, compacted_time })
    }
}
