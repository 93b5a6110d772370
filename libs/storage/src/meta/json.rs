//! JSON of block metas: unusual scalars when writing, leniency when reading.

use std::sync::Arc;

use jiff::Timestamp;
use serde::de::{self, Deserializer, MapAccess};
use serde::{Deserialize, Serializer};
use uuid::Uuid;

use super::bounded::BoundedValue;
use super::lenient::{LenientObject, take, take_time};
use super::{
    BlockMeta, CompactedBlockMeta, DedicatedColumn, Extension, PageEncoding, shared, zero_time,
};

pub(super) fn uuid<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

pub(crate) fn time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

pub(super) fn encoding<S: Serializer>(
    encoding: &PageEncoding,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(encoding.as_str())
}

pub(super) fn columns<S: Serializer>(
    columns: &Arc<[DedicatedColumn]>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(columns.iter())
}

pub(super) fn is_empty(columns: &Arc<[DedicatedColumn]>) -> bool {
    columns.is_empty()
}

impl LenientObject for BlockMeta {
    const NAME: &'static str = "a block meta";

    fn empty() -> Self {
        Self::default()
    }

    fn set<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "format" => take(&mut self.format, map)?,
            "blockid" => {
                if let Some(text) = map.next_value::<Option<String>>()? {
                    self.block_id = Uuid::try_parse(&text).map_err(de::Error::custom)?;
                }
            }
            "tenantid" => take(&mut self.tenant_id, map)?,
            "starttime" => take_time(&mut self.start_time, map)?,
            "endtime" => take_time(&mut self.end_time, map)?,
            "totalobjects" => take(&mut self.total_objects, map)?,
            "size" => take(&mut self.size, map)?,
            "compactionlevel" => take(&mut self.compaction_level, map)?,
            "encoding" => {
                // Tempo refuses the empty name; nothing is lost by taking it for "none".
                let name = map.next_value::<Option<String>>()?.unwrap_or_default();
                if !name.is_empty() {
                    self.encoding = PageEncoding::from_name(&name)
                        .ok_or_else(|| de::Error::custom("invalid encoding"))?;
                }
            }
            "indexpagesize" => take(&mut self.index_page_size, map)?,
            "totalrecords" => take(&mut self.total_records, map)?,
            "dataencoding" => take(&mut self.data_encoding, map)?,
            "bloomshards" => take(&mut self.bloom_shards, map)?,
            "footersize" => take(&mut self.footer_size, map)?,
            "dedicatedcolumns" => {
                if let Some(columns) = map.next_value::<Option<Vec<DedicatedColumn>>>()? {
                    self.dedicated_columns = shared::columns(columns).map_err(de::Error::custom)?;
                }
            }
            "replicationfactor" => take(&mut self.replication_factor, map)?,
            "tactus" => take_extension(self, map)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A later release may write another shape: what cannot be read counts as absent.
fn take_extension<'de, A: MapAccess<'de>>(
    meta: &mut BlockMeta,
    map: &mut A,
) -> Result<(), A::Error> {
    let value = map.next_value_seed(BoundedValue::new())?;
    let extension = value.and_then(|value| serde_json::from_value(value).ok());
    meta.extension = extension.and_then(Extension::usable);
    Ok(())
}

impl LenientObject for CompactedBlockMeta {
    const NAME: &'static str = "a compacted block meta";

    fn empty() -> Self {
        Self { meta: BlockMeta::default(), compacted_time: zero_time() }
    }

    fn set<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        if key == "compactedtime" {
            take_time(&mut self.compacted_time, map)?;
            return Ok(true);
        }
        self.meta.set(key, map)
    }
}

impl<'de> Deserialize<'de> for BlockMeta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize_lenient(deserializer)
    }
}

impl<'de> Deserialize<'de> for CompactedBlockMeta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize_lenient(deserializer)
    }
}
