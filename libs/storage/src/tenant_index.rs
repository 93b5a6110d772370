//! The tenant index: all block metas of a tenant in one object, so that a reader need not list.
//!
//! Stored twice, as zstd of protobuf and as gzip of JSON. Both are always written: readers prefer
//! the first, and a stale one would win over a fresh second.

use std::io::{self, BufWriter, Read, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::GzBuilder;
use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use prost::Message;
use prost::encoding::{WireType, encode_key};
use serde::de::{Deserializer, MapAccess};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::meta::json::time;
use crate::meta::lenient::{LenientObject, parse, take, take_time};
use crate::meta::{BlockMeta, CompactedBlockMeta, proto, zero_time};

/// Bytes of a decompressed index: about two million blocks. More is taken for damage.
const MAX_DECODED_BYTES: u64 = 1 << 30;

/// Bytes that are compressed at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// The blocks of one tenant at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantIndex {
    /// When the blocks were listed.
    pub created_at: Timestamp,
    /// Blocks to search.
    pub live: Vec<Arc<BlockMeta>>,
    /// Blocks that were compacted away but still exist.
    pub compacted: Vec<Arc<CompactedBlockMeta>>,
}

#[derive(Serialize)]
struct JsonOut<'a> {
    #[serde(serialize_with = "time")]
    created_at: Timestamp,
    meta: Option<Vec<&'a BlockMeta>>,
    compacted: Option<Vec<&'a CompactedBlockMeta>>,
}

struct JsonIn {
    created_at: Timestamp,
    meta: Vec<BlockMeta>,
    compacted: Vec<CompactedBlockMeta>,
}

impl LenientObject for JsonIn {
    const NAME: &'static str = "a tenant index";

    fn empty() -> Self {
        Self { created_at: zero_time(), meta: Vec::new(), compacted: Vec::new() }
    }

    fn set<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "created_at" => take_time(&mut self.created_at, map)?,
            "meta" => take(&mut self.meta, map)?,
            "compacted" => take(&mut self.compacted, map)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl<'de> Deserialize<'de> for JsonIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize_lenient(deserializer)
    }
}

#[derive(Clone, PartialEq, Message)]
struct ProtoIndex {
    #[prost(message, optional, tag = "1")]
    created_at: Option<proto::Time>,
    #[prost(message, repeated, tag = "2")]
    meta: Vec<proto::BlockMeta>,
    #[prost(message, repeated, tag = "3")]
    compacted: Vec<proto::CompactedBlockMeta>,
}

impl TenantIndex {
    /// The bytes of `index.json.gz`. CPU: large indexes take a second; call off the async runtime.
    pub fn to_json_gz(&self) -> Vec<u8> {
        let some = |empty: bool| (!empty).then_some(());
        let json = JsonOut {
            created_at: self.created_at,
            meta: some(self.live.is_empty())
                .map(|()| self.live.iter().map(AsRef::as_ref).collect()),
            compacted: some(self.compacted.is_empty())
                .map(|()| self.compacted.iter().map(AsRef::as_ref).collect()),
        };
        let write = || {
            let gzip = GzBuilder::new().filename("index.json");
            let gzip = gzip.write(Vec::new(), Compression::default());
            // As it is written: the text of many blocks is large.
            let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, gzip);
            serde_json::to_writer(&mut buffered, &json)?;
            buffered.into_inner()?.finish()
        };
        let bytes: io::Result<_> = write();
        bytes.expect("metas hold only strings and numbers, and memory takes them")
    }

    /// Parses `index.json.gz`; `Error::Corrupt` without a key otherwise.
    pub fn from_json_gz(bytes: &[u8]) -> Result<Self> {
        let index: JsonIn = parse(&read_all(MultiGzDecoder::new(bytes), "gzip of tenant index")?)?;
        Ok(Self {
            created_at: index.created_at,
            live: index.meta.into_iter().map(Arc::new).collect(),
            compacted: index.compacted.into_iter().map(Arc::new).collect(),
        })
    }

    /// The bytes of `index.pb.zst`. CPU as [`TenantIndex::to_json_gz`].
    pub fn to_proto_zst(&self) -> Vec<u8> {
        let created_at = Some(self.created_at.into());
        let head = ProtoIndex { created_at, meta: Vec::new(), compacted: Vec::new() };
        let write = || {
            let mut zstd = zstd::Encoder::new(Vec::new(), zstd::DEFAULT_COMPRESSION_LEVEL)?;
            // So that a flipped bit is noticed. The JSON form has one anyway.
            zstd.include_checksum(true)?;
            let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, zstd);
            buffered.write_all(&head.encode_to_vec())?;
            // One by one: all messages at once take several times the memory of the list.
            for meta in &self.live {
                write_field(&mut buffered, 2, &proto::BlockMeta::from(meta.as_ref()))?;
            }
            for block in &self.compacted {
                write_field(&mut buffered, 3, &proto::CompactedBlockMeta::from(block.as_ref()))?;
            }
            buffered.into_inner()?.finish()
        };
        let bytes: io::Result<_> = write();
        bytes.expect("writing to memory does not fail")
    }

    /// Parses `index.pb.zst` of either Tempo version; `Error::Corrupt` without a key otherwise.
    pub fn from_proto_zst(bytes: &[u8]) -> Result<Self> {
        let what = "zstd of tenant index";
        let decoder = zstd::Decoder::with_buffer(bytes).map_err(|_| Error::corrupt(what, 0))?;
        let message = ProtoIndex::decode(&*read_all(decoder, what)?)
            .map_err(|_| Error::corrupt("protobuf of tenant index", 0))?;
        let live = message.meta.into_iter().map(|meta| meta.try_into().map(Arc::new));
        let compacted = message.compacted.into_iter().map(|meta| meta.try_into().map(Arc::new));
        Ok(Self {
            created_at: proto::time_or_zero(message.created_at)?,
            live: live.collect::<Result<_>>()?,
            compacted: compacted.collect::<Result<_>>()?,
        })
    }
}

/// Writes one element of a repeated message field.
fn write_field(sink: &mut impl Write, field: u32, message: &impl Message) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(message.encoded_len() + 16);
    encode_key(field, WireType::LengthDelimited, &mut bytes);
    let written = message.encode_length_delimited(&mut bytes);
    written.map_err(io::Error::other)?;
    sink.write_all(&bytes)
}

fn read_all(reader: impl Read, what: &'static str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = reader.take(MAX_DECODED_BYTES + 1).read_to_end(&mut bytes);
    match read {
        Ok(length) if length as u64 <= MAX_DECODED_BYTES => Ok(bytes),
        _ => Err(Error::corrupt(what, bytes.len() as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::Extension;

    fn sample(version: &str, name: &str) -> Vec<u8> {
        let path = crate::test_data::blocks().join(version).join("single-tenant").join(name);
        std::fs::read(path).unwrap()
    }

    fn gunzip(bytes: &[u8]) -> String {
        String::from_utf8(read_all(MultiGzDecoder::new(bytes), "").unwrap()).unwrap()
    }

    fn with_compacted() -> TenantIndex {
        let mut index = TenantIndex::from_json_gz(&sample("vParquet4", "index.json.gz")).unwrap();
        let mut meta = index.live[0].as_ref().clone();
        meta.extension = Some(Box::new(Extension {
            sources: vec![meta.block_id],
            retention: "30d".into(),
            ..Extension::default()
        }));
        let compacted_time = Timestamp::new(1_700_000_000, 7).unwrap();
        index.compacted.push(Arc::new(CompactedBlockMeta { meta, compacted_time }));
        index
    }

    #[test]
    fn sample_json_index_is_rebuilt() {
        for version in ["vParquet4", "vParquet5"] {
            let bytes = sample(version, "index.json.gz");
            let index = TenantIndex::from_json_gz(&bytes).unwrap();
            assert_eq!(index.live.len(), 1);
            assert_eq!(gunzip(&index.to_json_gz()), gunzip(&bytes));
        }
    }

    #[test]
    fn sample_protobuf_index_is_rebuilt_and_equals_the_json_one() {
        for version in ["vParquet4", "vParquet5"] {
            let bytes = sample(version, "index.pb.zst");
            let index = TenantIndex::from_proto_zst(&bytes).unwrap();
            let unpack = |bytes: &[u8]| zstd::decode_all(bytes).unwrap();
            assert_eq!(unpack(&index.to_proto_zst()), unpack(&bytes));
            let json = TenantIndex::from_json_gz(&sample(version, "index.json.gz")).unwrap();
            assert_eq!(index.live, json.live);
        }
    }

    #[test]
    fn empty_lists_are_null_and_gzip_names_the_file() {
        let index = TenantIndex { live: Vec::new(), ..with_compacted() };
        let bytes = index.to_json_gz();
        assert!(gunzip(&bytes).contains(r#","meta":null,"compacted":[{"#));
        assert!(bytes.windows(11).any(|window| window == b"index.json\0"));
    }

    #[test]
    fn compacted_blocks_round_trip_in_both_forms() {
        let index = with_compacted();
        assert_eq!(TenantIndex::from_json_gz(&index.to_json_gz()).unwrap(), index);
        assert_eq!(TenantIndex::from_proto_zst(&index.to_proto_zst()).unwrap(), index);
    }

    #[test]
    fn flipped_bit_anywhere_in_the_content_is_noticed() {
        let index = with_compacted();
        let (json, proto) = (index.to_json_gz(), index.to_proto_zst());
        for place in 0..json.len().max(proto.len()) {
            let flip = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 4;
                }
                bytes
            };
            // Header fields such as the file name may say what they will.
            if let Ok(read) = TenantIndex::from_json_gz(&flip(&json)) {
                assert_eq!(read, index, "{place}");
            }
            if let Ok(read) = TenantIndex::from_proto_zst(&flip(&proto)) {
                assert_eq!(read, index, "{place}");
            }
        }
    }

    #[test]
    fn truncated_index_is_corrupt() {
        let (json, proto) = (with_compacted().to_json_gz(), with_compacted().to_proto_zst());
        for length in 0..json.len() {
            assert!(TenantIndex::from_json_gz(&json[..length]).is_err(), "{length}");
        }
        for length in 1..proto.len() {
            assert!(TenantIndex::from_proto_zst(&proto[..length]).is_err(), "{length}");
        }
    }
}
