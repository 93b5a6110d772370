//! The tenant index: all block metas of a tenant in one object, so that readers need not list the bucket.
//!
//! It is stored twice, as zstd of protobuf and as gzip of JSON. Both are always written, because readers prefer the
//! first, and an outdated one would win over a fresh second one.
//!
//! Anyone who can write to the bucket can write an index of a few kilobytes that decompresses to gigabytes, or that
//! lists very many blocks in very few bytes. So an index is decoded while it is decompressed, one block at a time, and
//! everything that grows is bounded.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::GzBuilder;
use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use prost::Message;
use prost::encoding::{WireType, encode_key};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::meta::json::time;
use crate::meta::{BlockMeta, CompactedBlockMeta, is_default, proto};

mod entries;
mod json;
mod protobuf;

pub use entries::Choose;
use entries::{Bounds, Entries};

/// The largest index as it is stored, in bytes: several times what two million blocks take.
pub const MAX_STORED_BYTES: u64 = 256 << 20;

/// The number of what this program knows of a block's meta beyond Tempo. To be raised with each key: who does not know a key
/// leaves it out of the index.
pub const META_FORM: u64 = 1;

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
    /// Blocks that whoever wrote the index had no room for.
    pub left_out: u64,
    /// Live blocks whose meta whoever wrote the index could not read.
    pub unread: u64,
    /// [`META_FORM`] of whoever wrote the index; 0 is that of Tempo and of programs before there was one.
    pub form: u64,
}

#[derive(Serialize)]
struct JsonOut<'a> {
    #[serde(serialize_with = "time")]
    created_at: Timestamp,
    meta: Option<Vec<&'a BlockMeta>>,
    compacted: Option<Vec<&'a CompactedBlockMeta>>,
    #[serde(rename = "tactusLeftOut", skip_serializing_if = "is_default")]
    left_out: u64,
    #[serde(rename = "tactusUnread", skip_serializing_if = "is_default")]
    unread: u64,
    #[serde(rename = "tactusForm", skip_serializing_if = "is_default")]
    form: u64,
}

impl TenantIndex {
    /// An index without blocks.
    pub fn empty(created_at: Timestamp) -> Self {
        Self {
            created_at,
            live: Vec::new(),
            compacted: Vec::new(),
            left_out: 0,
            unread: 0,
            form: 0,
        }
    }

    /// The bytes of `index.json.gz`. CPU: large indexes take a second; call off the async runtime.
    pub fn to_json_gz(&self) -> Vec<u8> {
        let some = |empty: bool| (!empty).then_some(());
        let json = JsonOut {
            created_at: self.created_at,
            meta: some(self.live.is_empty())
                .map(|()| self.live.iter().map(AsRef::as_ref).collect()),
            compacted: some(self.compacted.is_empty())
                .map(|()| self.compacted.iter().map(AsRef::as_ref).collect()),
            left_out: self.left_out,
            unread: self.unread,
            form: self.form,
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
        Ok(Self::from_json_gz_where(bytes, |_: &BlockMeta| true)?.0)
    }

    /// Of the blocks in `index.json.gz` those that `keep` says, and how many others there are. What is not kept takes no
    /// memory. Errors as [`TenantIndex::from_json_gz`].
    pub fn from_json_gz_where(bytes: &[u8], keep: impl Choose) -> Result<(Self, usize)> {
        let mut entries = Entries::new(keep, Bounds::USUAL);
        json::decode(MultiGzDecoder::new(bytes), &mut entries)?;
        Ok(entries.finish())
    }

    /// The bytes of `index.pb.zst`. CPU as [`TenantIndex::to_json_gz`].
    pub fn to_proto_zst(&self) -> Vec<u8> {
        let created_at = Some(self.created_at.into());
        let &Self { left_out, unread, form, .. } = self;
        let head = protobuf::Head { created_at, left_out, unread, form };
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
        Ok(Self::from_proto_zst_where(bytes, |_: &BlockMeta| true)?.0)
    }

    /// Of the blocks in `index.pb.zst` those that `keep` says, and how many others there are. What is not kept takes no
    /// memory. Errors as [`TenantIndex::from_proto_zst`].
    pub fn from_proto_zst_where(bytes: &[u8], keep: impl Choose) -> Result<(Self, usize)> {
        let mut entries = Entries::new(keep, Bounds::USUAL);
        let decoder = zstd::Decoder::with_buffer(bytes);
        let decoder = decoder.map_err(|_| Error::corrupt("zstd of tenant index", 0))?;
        protobuf::decode(decoder, &mut entries)?;
        Ok(entries.finish())
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

#[cfg(test)]
mod tests;
