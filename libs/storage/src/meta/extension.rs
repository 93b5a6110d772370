//! The fields that only this product writes into a block meta: key `tactus` in JSON, field 1000 in protobuf (the same
//! JSON).

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::ops::Range;

use tactus_model::{CutTraces, OriginSet, TraceId};
use uuid::Uuid;

use super::is_default;

/// What only this product writes into a block meta. All parts may be empty; unknown keys are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Extension {
    /// All blocks from which this one was made. All their spans are in this one (or were removed on purpose), and it
    /// has no others. While this block is live, they are not read any more, and no other block is made from them. An
    /// input that is only partly in this block is not listed, and must stay live.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Uuid>,
    /// The retention that was last applied to the block, in the form in which it describes itself, so that it is not
    /// applied again.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub retention: String,
    /// The pushes of replicated spans that are completely in the block. Whoever has the same spans need not count them.
    /// Left out once no ingester has them any more.
    #[serde(skip_serializing_if = "OriginSet::is_empty")]
    #[serde(serialize_with = "put_origins", deserialize_with = "take_origins")]
    pub origins: OriginSet,
    /// The pushes of which some spans are in the block, because the ingester refused the others.
    #[serde(skip_serializing_if = "OriginSet::is_empty")]
    #[serde(serialize_with = "put_origins", deserialize_with = "take_origins")]
    pub incomplete_origins: OriginSet,
    /// Those of [`Self::origins`] of which tail sampling dropped traces, which another ingester may have kept.
    #[serde(skip_serializing_if = "OriginSet::is_empty")]
    #[serde(serialize_with = "put_origins", deserialize_with = "take_origins")]
    pub thinned_origins: OriginSet,
    /// Traces that are incomplete in the block, because spans were refused when the traces became too large.
    #[serde(skip_serializing_if = "CutTraces::is_empty")]
    #[serde(serialize_with = "put_cut_traces", deserialize_with = "take_cut_traces")]
    pub cut_traces: CutTraces,
    /// From where to where spans start, as far as that is beyond the block's own time range: see
    /// [`BlockMeta::note_starts`](super::BlockMeta::note_starts). Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts: Option<(i64, i64)>,
    /// The shortest and the longest of the stored durations of spans, nanoseconds. A span that ends before it starts has one
    /// beyond [`i64::MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durations: Option<(u64, u64)>,
    /// What lies in the block's summary; `None` for a block without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<SummaryParts>,
}

/// Lengths in bytes of the parts of a summary, in the order in which they lie there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SummaryParts {
    /// The end of the data file.
    pub tail: u64,
    /// Names and values of attributes.
    pub values: u64,
    /// Which strings attributes of many values may have; 0 without a filter.
    #[serde(skip_serializing_if = "is_default")]
    pub filter: u64,
}

impl SummaryParts {
    /// Where the tail lies.
    pub fn tail_range(&self) -> Range<u64> {
        0..self.tail
    }

    /// Where the values lie.
    pub fn values_range(&self) -> Range<u64> {
        self.tail..self.tail.saturating_add(self.values)
    }

    /// Where the filter lies.
    pub fn filter_range(&self) -> Range<u64> {
        let start = self.values_range().end;
        start..start.saturating_add(self.filter)
    }
}

/// Sources of a block at most. A merge has some ten inputs; each source takes memory several times, in the block list and
/// where it is compared with those of others.
pub const MAX_SOURCES: usize = 4096;

impl Extension {
    /// What was read, if it is of use: it has content, and no more sources than blocks have.
    pub(super) fn usable(self) -> Option<Box<Self>> {
        let is_usable = !self.is_empty() && self.sources.len() <= MAX_SOURCES;
        is_usable.then(|| Box::new(self))
    }

    /// Estimated memory of what it has on the heap, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        let origins = [&self.origins, &self.incomplete_origins, &self.thinned_origins];
        let ranges: usize = origins.iter().map(|origins| origins.ranges().len()).sum();
        size_of::<Self>()
            + self.sources.len() * SOURCE_BYTES
            + self.retention.len()
            + ranges * size_of::<(u64, u64)>()
            + self.cut_traces.iter().count() * CUT_TRACE_BYTES
    }

    /// True without any content.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Memory of a source: in the meta, in the index of sources, and while blocks that have it are compared.
const SOURCE_BYTES: usize = 80;
/// Memory of a cut trace in its map.
const CUT_TRACE_BYTES: usize = 40;

/// Stands for the spans of a block that have no origin of their own: a number that no push has.
pub fn block_origin(block: Uuid) -> u64 {
    // The stream is of random bits as others are; pushes count from 1.
    let bytes = block.as_bytes();
    bytes[..5].iter().fold(0, |number, &byte| number << 8 | u64::from(byte)) << 24
}

/// As ranges in hexadecimal: `"7a0000000001-7a00000000ff"`, or one number alone.
fn put_origins<S: Serializer>(origins: &OriginSet, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(origins.ranges().iter().map(|&(first, last)| {
        if first == last { format!("{first:x}") } else { format!("{first:x}-{last:x}") }
    }))
}

fn take_origins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OriginSet, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let parse = |text: &String| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some((number(first)?, number(last)?)).filter(|range| range.0 <= range.1)
    };
    let ranges: Option<Vec<_>> = texts.iter().map(parse).collect();
    Ok(OriginSet::from_ranges(ranges.ok_or_else(|| D::Error::custom("not a range of origins"))?))
}

/// By trace id in hexadecimal: `{"00…2a":91064}`.
fn put_cut_traces<S: Serializer>(cut: &CutTraces, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(cut.iter().map(|(trace, spans)| (trace.to_hex(), spans)))
}

fn take_cut_traces<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CutTraces, D::Error> {
    let texts = BTreeMap::<String, u64>::deserialize(deserializer)?;
    let traces = texts.into_iter().map(|(text, spans)| Some((TraceId::from_hex(&text)?, spans)));
    traces.collect::<Option<_>>().ok_or_else(|| D::Error::custom("not a trace id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_ranges_of_hexadecimal_numbers() {
        let origins = OriginSet::from_ranges(vec![(0x7a00_0001, 0x7a00_00ff), (5, 5)]);
        let extension = Extension {
            origins,
            incomplete_origins: OriginSet::from_iter([9]),
            ..Extension::default()
        };
        let json = serde_json::to_string(&extension).unwrap();
        assert_eq!(json, r#"{"origins":["5","7a000001-7a0000ff"],"incompleteOrigins":["9"]}"#);
        assert_eq!(serde_json::from_str::<Extension>(&json).unwrap(), extension);
        assert_eq!(serde_json::to_string(&Extension::default()).unwrap(), "{}");
    }

    #[test]
    fn more_sources_than_blocks_have_are_not_believed() {
        let of = |count: usize| {
            let sources = (0..count).map(|number| Uuid::from_u128(number as u128)).collect();
            Extension { sources, ..Extension::default() }
        };
        assert!(of(0).usable().is_none());
        assert_eq!(of(MAX_SOURCES).usable().unwrap().sources.len(), MAX_SOURCES);
        assert!(of(MAX_SOURCES + 1).usable().is_none());
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "x", "1-", "-1", "2-1", "1-2-3", "10000000000000000"] {
            let json = format!(r#"{{"origins":["{text}"]}}"#);
            assert!(serde_json::from_str::<Extension>(&json).is_err(), "{text}");
        }
    }

    #[test]
    fn cut_traces_are_named_by_their_ids() {
        let cut_traces = CutTraces::from_iter([(TraceId([0xab; 16]), 91_064)]);
        let extension = Extension { cut_traces, ..Extension::default() };
        let json = serde_json::to_string(&extension).unwrap();
        assert_eq!(json, format!(r#"{{"cutTraces":{{"{}":91064}}}}"#, "ab".repeat(16)));
        assert_eq!(serde_json::from_str::<Extension>(&json).unwrap(), extension);
        for damaged in [r#"{"cutTraces":{"x":1}}"#, r#"{"cutTraces":{"ab":-1}}"#] {
            assert!(serde_json::from_str::<Extension>(damaged).is_err(), "{damaged}");
        }
    }
}
