//! Reading frames back.

use super::{Counts, DEFINE, Damaged, EXEMPLAR, FLOAT, HISTOGRAM, Kind, VERSION, WHOLE};
use crate::series::{BucketSpan, NativeHistogram};

/// Most runs, and most buckets, of a histogram that is read: a damaged length must not cost memory.
const MAX_BUCKETS: usize = 1 << 16;

/// One entry of a frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Entry<'a> {
    /// The next series: its labels, sorted by name.
    Define(Vec<(&'a str, &'a str)>),
    Float {
        id: u32,
        timestamp_ms: i64,
        value: f64,
    },
    Histogram {
        id: u32,
        timestamp_ms: i64,
        value: NativeHistogram,
    },
    Exemplar {
        id: u32,
        timestamp_ms: i64,
        value: f64,
        label: &'a str,
        trace_id: &'a str,
    },
}

impl Entry<'_> {
    /// `None` of a definition.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Define(_) => None,
            Self::Float { .. } => Some(Kind::Float),
            Self::Histogram { .. } => Some(Kind::Histogram),
            Self::Exemplar { .. } => Some(Kind::Exemplar),
        }
    }
}

/// Goes through the entries of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameReader<'a> {
    input: Input<'a>,
    base_ms: i64,
    counts: Counts,
    ends_collection: bool,
}

impl<'a> FrameReader<'a> {
    pub(crate) fn new(frame: &'a [u8]) -> Result<Self, Damaged> {
        let mut input = Input(frame);
        if input.byte()? != VERSION {
            return Err(Damaged("unknown version"));
        }
        let ends_collection = input.byte()? != 0;
        let counts = Counts {
            floats: u64::from(u32::from_le_bytes(input.array()?)),
            histograms: u64::from(u32::from_le_bytes(input.array()?)),
            exemplars: u64::from(u32::from_le_bytes(input.array()?)),
        };
        Ok(Self { base_ms: i64::from_le_bytes(input.array()?), input, counts, ends_collection })
    }

    /// Entries of the whole frame, as its writer counted them.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// True of the last frame of a collection.
    pub(crate) fn ends_collection(&self) -> bool {
        self.ends_collection
    }

    /// Bytes of `frame`, which this reads, that are read.
    pub(crate) fn position(&self, frame: &[u8]) -> usize {
        frame.len() - self.input.0.len()
    }

    /// Goes on at a position of a reader of the same frame.
    pub(crate) fn go_to(&mut self, position: usize, frame: &'a [u8]) {
        self.input = Input(frame.get(position..).unwrap_or_default());
    }

    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry<'a>>, Damaged> {
        if self.input.0.is_empty() {
            return Ok(None);
        }
        let tag = self.input.byte()?;
        if tag == DEFINE {
            return self.definition().map(Some);
        }
        let id = u32::try_from(self.input.varint()?).map_err(|_| Damaged("series number"))?;
        let timestamp_ms = self.base_ms.wrapping_add(self.input.signed()?);
        Ok(Some(match tag {
            FLOAT => {
                Entry::Float { id, timestamp_ms, value: f64::from_le_bytes(self.input.array()?) }
            }
            WHOLE => Entry::Float { id, timestamp_ms, value: self.input.signed()? as f64 },
            HISTOGRAM => Entry::Histogram { id, timestamp_ms, value: self.native_histogram()? },
            EXEMPLAR => Entry::Exemplar {
                id,
                timestamp_ms,
                value: self.input.number()?,
                label: self.input.text()?,
                trace_id: self.input.text()?,
            },
            _ => return Err(Damaged("unknown entry")),
        }))
    }

    fn definition(&mut self) -> Result<Entry<'a>, Damaged> {
        let size = self.input.length()?;
        let mut labels = Input(self.input.take(size)?);
        let mut pairs = Vec::new();
        while !labels.0.is_empty() {
            pairs.push((labels.text()?, labels.text()?));
        }
        Ok(Entry::Define(pairs))
    }

    fn native_histogram(&mut self) -> Result<NativeHistogram, Damaged> {
        let input = &mut self.input;
        let [count, sum, zero_threshold, zero_count] =
            [input.number()?, input.number()?, input.number()?, input.number()?];
        let schema = i32::try_from(input.signed()?).map_err(|_| Damaged("schema"))?;
        let runs = input.bucket_count()?;
        let mut spans = Vec::with_capacity(runs);
        for _ in 0..runs {
            let offset = i32::try_from(input.signed()?).map_err(|_| Damaged("bucket run"))?;
            let length = u32::try_from(input.varint()?).map_err(|_| Damaged("bucket run"))?;
            spans.push(BucketSpan { offset, length });
        }
        let filled = input.bucket_count()?;
        let mut buckets = Vec::with_capacity(filled);
        for _ in 0..filled {
            buckets.push(input.number()?);
        }
        Ok(NativeHistogram { count, sum, schema, zero_threshold, zero_count, spans, buckets })
    }
}

#[derive(Clone, Copy, Debug)]
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Damaged("cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Damaged> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Damaged("cut off"))?;
        self.0 = rest;
        Ok(*array)
    }

    fn varint(&mut self) -> Result<u64, Damaged> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Damaged("number too long"))
    }

    fn signed(&mut self) -> Result<i64, Damaged> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    fn length(&mut self) -> Result<usize, Damaged> {
        usize::try_from(self.varint()?).map_err(|_| Damaged("length"))
    }

    fn bucket_count(&mut self) -> Result<usize, Damaged> {
        self.length().and_then(|count| match count {
            0..=MAX_BUCKETS => Ok(count),
            _ => Err(Damaged("too many buckets")),
        })
    }

    fn text(&mut self) -> Result<&'a str, Damaged> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Damaged("text"))
    }

    fn number(&mut self) -> Result<f64, Damaged> {
        match self.byte()? {
            0 => self.array().map(f64::from_le_bytes),
            _ => self.signed().map(|whole| whole as f64),
        }
    }
}
