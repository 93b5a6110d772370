//! Smallest and largest values of pages and column chunks.

use std::cmp::Ordering;

use parquet::basic::{BoundaryOrder, LogicalType, Type};
use parquet::data_type::ByteArray;
use parquet::file::metadata::ColumnIndexBuilder;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnDescriptor;

use crate::error::Result;

/// Longer byte strings are cut for statistics.
const MAX_BYTES: usize = 16;

/// How the values of a column compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    Boolean,
    Int32 { unsigned: bool },
    Int64 { unsigned: bool },
    Double,
    Bytes { text: bool },
}

impl Order {
    pub(super) fn of(column: &ColumnDescriptor) -> Self {
        let unsigned = matches!(
            column.logical_type_ref(),
            Some(LogicalType::Integer(integer)) if !integer.is_signed
        );
        match column.physical_type() {
            Type::BOOLEAN => Self::Boolean,
            Type::INT32 => Self::Int32 { unsigned },
            Type::INT64 => Self::Int64 { unsigned },
            Type::DOUBLE => Self::Double,
            _ => Self::Bytes { text: column.logical_type_ref() == Some(&LogicalType::String) },
        }
    }

    /// The smallest and largest of some integers; `None` if there are none.
    pub(super) fn of_integers(self, values: &[i64]) -> Bounds {
        let unsigned =
            matches!(self, Self::Int32 { unsigned: true } | Self::Int64 { unsigned: true });
        let wide = matches!(self, Self::Int64 { .. });
        // Flipping the sign bit converts the unsigned order to the signed one.
        let flip = if unsigned { i64::MIN } else { 0 };
        let (&first, _) = values.split_first()?;
        let (mut low, mut high) = (first ^ flip, first ^ flip);
        for &value in values {
            low = low.min(value ^ flip);
            high = high.max(value ^ flip);
        }
        let bytes = |value: i64| {
            let all = (value ^ flip).to_le_bytes();
            if wide { all.to_vec() } else { all[..4].to_vec() }
        };
        Some((bytes(low), bytes(high)))
    }

    fn compare(self, left: &[u8], right: &[u8]) -> Ordering {
        let (a, b) = (number(left), number(right));
        match self {
            Self::Boolean | Self::Bytes { .. } => left.cmp(right),
            Self::Int32 { unsigned: false } => (a as i32).cmp(&(b as i32)),
            Self::Int64 { unsigned: false } => (a as i64).cmp(&(b as i64)),
            Self::Int32 { unsigned: true } | Self::Int64 { unsigned: true } => a.cmp(&b),
            Self::Double => f64::from_bits(a).total_cmp(&f64::from_bits(b)),
        }
    }
}

/// The smallest and largest value in PLAIN encoding without lengths; byte strings are not truncated yet.
pub(super) type Bounds = Option<(Vec<u8>, Vec<u8>)>;

/// The bounds of doubles by total order, and how many are NaN. NaN is a bound only if there is nothing else.
pub(super) fn of_doubles(values: &[f64]) -> (Bounds, u64) {
    let nans = values.iter().filter(|value| value.is_nan()).count();
    let wanted = |value: &&f64| nans == values.len() || !value.is_nan();
    let low = values.iter().filter(wanted).min_by(|a, b| a.total_cmp(b));
    let high = values.iter().filter(wanted).max_by(|a, b| a.total_cmp(b));
    let bytes = |value: &f64| value.to_le_bytes().to_vec();
    (low.zip(high).map(|(low, high)| (bytes(low), bytes(high))), nans as u64)
}

/// The bounds of booleans (0 or 1).
pub(super) fn of_booleans(values: &[u8]) -> Bounds {
    let set = values.iter().map(|&value| usize::from(value)).sum::<usize>();
    let (low, high) = (u8::from(set == values.len()), u8::from(set > 0));
    (!values.is_empty()).then(|| (vec![low], vec![high]))
}

/// Finds the least and greatest of byte strings.
#[derive(Default)]
pub(super) struct BytesBounds<'a> {
    bounds: Option<(&'a [u8], &'a [u8])>,
    /// Prefixes of the bounds.
    low: u64,
    high: u64,
}

impl<'a> BytesBounds<'a> {
    #[inline]
    pub(super) fn add(&mut self, string: &'a [u8]) {
        let prefix = prefix(string);
        let Some((low, high)) = &mut self.bounds else {
            self.bounds = Some((string, string));
            (self.low, self.high) = (prefix, prefix);
            return;
        };
        if prefix <= self.low && string < *low {
            (*low, self.low) = (string, prefix);
        }
        if prefix >= self.high && string > *high {
            (*high, self.high) = (string, prefix);
        }
    }

    pub(super) fn finish(&self) -> Bounds {
        self.bounds.map(|(low, high)| (low.to_vec(), high.to_vec()))
    }
}

/// The first eight bytes, as a number with the same order.
#[inline]
pub(super) fn prefix(string: &[u8]) -> u64 {
    match string.first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => {
            let mut bytes = [0; 8];
            bytes[..string.len()].copy_from_slice(string);
            u64::from_be_bytes(bytes)
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    let mut all = [0; 8];
    let length = bytes.len().min(8);
    all[..length].copy_from_slice(&bytes[..length]);
    u64::from_le_bytes(all)
}

/// Collects the statistics of one column chunk, page by page.
pub(super) struct ChunkStatistics {
    order: Order,
    physical: Type,
    /// `None` if the column has no bounds.
    index: Option<ColumnIndexBuilder>,
    bounds: Bounds,
    last_page: Bounds,
    ascending: bool,
    descending: bool,
    nulls: u64,
    nans: u64,
}

impl ChunkStatistics {
    /// `has_bounds`: false for a column whose bounds would help no reader. It has no column index either, because an
    /// index without bounds is not possible.
    pub(super) fn new(column: &ColumnDescriptor, has_bounds: bool) -> Self {
        Self {
            order: Order::of(column),
            physical: column.physical_type(),
            index: has_bounds.then(|| ColumnIndexBuilder::new(column.physical_type())),
            bounds: None,
            last_page: None,
            ascending: true,
            descending: true,
            nulls: 0,
            nans: 0,
        }
    }

    pub(super) fn order(&self) -> Order {
        self.order
    }

    /// Adds a page. `bounds` is `None` if all its values are null.
    pub(super) fn page(&mut self, bounds: Bounds, nulls: u64, nans: u64) {
        self.nulls += nulls;
        self.nans += nans;
        let nan_count = (self.order == Order::Double).then_some(nans as i64);
        let Some(index) = &mut self.index else { return };
        let Some((low, high)) = bounds else {
            index.append(true, Vec::new(), Vec::new(), nulls as i64, nan_count);
            return;
        };
        let (cut_low, _) = self.cut_low(&low);
        let (cut_high, _) = self.cut_high(&high);
        if let Some((last_low, last_high)) = &self.last_page {
            let low_step = self.order.compare(last_low, &cut_low);
            let high_step = self.order.compare(last_high, &cut_high);
            self.ascending &= low_step.is_le() && high_step.is_le();
            self.descending &= low_step.is_ge() && high_step.is_ge();
        }
        if let Some(index) = &mut self.index {
            index.append(false, cut_low.clone(), cut_high.clone(), nulls as i64, nan_count);
        }
        self.last_page = Some((cut_low, cut_high));
        self.bounds = Some(match self.bounds.take() {
            None => (low, high),
            Some((least, greatest)) => (
                if self.order.compare(&low, &least).is_lt() { low } else { least },
                if self.order.compare(&high, &greatest).is_gt() { high } else { greatest },
            ),
        });
    }

    /// The chunk's statistics and its column index, if it has one.
    pub(super) fn finish(mut self) -> Result<(Statistics, Option<ColumnIndexMetaData>)> {
        let order = match (self.ascending, self.descending) {
            (true, _) => BoundaryOrder::ASCENDING,
            (false, true) => BoundaryOrder::DESCENDING,
            (false, false) => BoundaryOrder::UNORDERED,
        };
        if let Some(index) = &mut self.index {
            index.set_boundary_order(order);
        }
        let statistics = self.statistics();
        Ok((statistics, self.index.map(ColumnIndexBuilder::build).transpose()?))
    }

    fn statistics(&self) -> Statistics {
        let nulls = Some(self.nulls);
        let low = self.bounds.as_ref().map(|(low, _)| self.cut_low(low));
        let high = self.bounds.as_ref().map(|(_, high)| self.cut_high(high));
        let low_number = low.as_ref().map(|(bytes, _)| number(bytes));
        let high_number = high.as_ref().map(|(bytes, _)| number(bytes));
        match self.physical {
            Type::BOOLEAN => Statistics::boolean(
                low_number.map(|bits| bits != 0),
                high_number.map(|bits| bits != 0),
                None,
                nulls,
                false,
            ),
            Type::INT32 => Statistics::int32(
                low_number.map(|bits| bits as i32),
                high_number.map(|bits| bits as i32),
                None,
                nulls,
                false,
            ),
            Type::INT64 => Statistics::int64(
                low_number.map(|bits| bits as i64),
                high_number.map(|bits| bits as i64),
                None,
                nulls,
                false,
            ),
            Type::DOUBLE => Statistics::Double(
                ValueStatistics::new(
                    low_number.map(f64::from_bits),
                    high_number.map(f64::from_bits),
                    None,
                    nulls,
                    false,
                )
                .with_nan_count(Some(self.nans)),
            ),
            _ => {
                let exact =
                    |cut: &Option<(Vec<u8>, bool)>| cut.as_ref().is_none_or(|(_, exact)| *exact);
                let (low_exact, high_exact) = (exact(&low), exact(&high));
                let bytes =
                    |cut: Option<(Vec<u8>, bool)>| cut.map(|(bytes, _)| ByteArray::from(bytes));
                Statistics::ByteArray(
                    ValueStatistics::new(bytes(low), bytes(high), None, nulls, false)
                        .with_min_is_exact(low_exact)
                        .with_max_is_exact(high_exact),
                )
            }
        }
    }

    /// A lower bound of at most [`MAX_BYTES`] bytes, and whether it is the value itself.
    fn cut_low(&self, value: &[u8]) -> (Vec<u8>, bool) {
        match self.cut(value) {
            Some(cut) => (cut.to_vec(), false),
            None => (value.to_vec(), true),
        }
    }

    /// An upper bound of at most [`MAX_BYTES`] bytes, if there is one, and whether it is the value itself.
    fn cut_high(&self, value: &[u8]) -> (Vec<u8>, bool) {
        let next = self.cut(value).and_then(|cut| match self.order {
            Order::Bytes { text: true } => next_text(cut).or_else(|| next_bytes(cut)),
            _ => next_bytes(cut),
        });
        match next {
            Some(next) => (next, false),
            None => (value.to_vec(), true),
        }
    }

    /// The beginning of a value that is too long, cut between characters if it is text.
    fn cut<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        let Order::Bytes { text } = self.order else { return None };
        if value.len() <= MAX_BYTES {
            return None;
        }
        let mut end = MAX_BYTES;
        if text {
            let is_continuation = |at: usize| value[at] & 0xc0 == 0x80;
            let boundary = (MAX_BYTES - 3..=MAX_BYTES).rev().find(|&at| !is_continuation(at));
            end = boundary.unwrap_or(MAX_BYTES);
        }
        Some(&value[..end])
    }
}

/// The smallest byte string above all that start with `prefix`; `None` if there is none.
fn next_bytes(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

/// As [`next_bytes`], and valid UTF-8; `None` if `prefix` is not.
fn next_text(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut text = std::str::from_utf8(prefix).ok()?.to_owned();
    while let Some(last) = text.pop() {
        // The next character must not take more bytes, so that the bound does not become longer.
        let next =
            char::from_u32(last as u32 + 1).filter(|next| next.len_utf8() == last.len_utf8());
        if let Some(next) = next {
            text.push(next);
            return Some(text.into_bytes());
        }
    }
    None
}

#[cfg(test)]
mod tests;
