//! The filter part of a summary: for each row group, which strings and numbers the attributes with many values may have.

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use tactus_model::{Dictionary, StringCode, wire::put_varint};
use tactus_storage::hash::murmur3_x64_128;
use xorf::{BinaryFuse8, BinaryFuse16, Filter as _};

use super::{Cursor, MAX_ROW_GROUPS, ValueOwner, corrupt};
use crate::Result;

/// A filter takes at most one byte for this many bytes of its row group, which is 3 %.
const BYTES_A_FILTER_BYTE: u64 = 34;

/// Approximate bits of an entry, for fingerprints of 8 and of 16 bits.
const ENTRY_BITS: [u64; 2] = [10, 20];

/// Bits of the hash of an attribute.
const KEY_BITS: u64 = 64;

/// More than any writer makes.
const MAX_SEGMENTS: u32 = 1 << 28;

/// Hashes of the values of some attributes of a row group. Never says "no" for a value that is there.
#[derive(Debug, Clone, Default)]
enum Fingerprints {
    /// No attribute has a value.
    #[default]
    None,
    /// Says "yes" for about one in 256 values that are not there.
    Bytes(BinaryFuse8),
    /// Says "yes" for about one in 65536 values that are not there.
    Words(BinaryFuse16),
}

/// The filter of a row group.
#[derive(Debug, Clone, Default)]
pub(crate) struct RowGroupFilter {
    /// The attributes that it knows all strings of, or all numbers: [`key_hash`].
    keys: HashSet<u64, RandomState>,
    fingerprints: Fingerprints,
}

/// The filter part of a summary.
#[derive(Debug, Clone, Default)]
pub struct BlockFilter {
    row_groups: Vec<RowGroupFilter>,
}

/// The values of an attribute that are in a filter together, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FilteredKind {
    Strings,
    Numbers,
}

/// Added to the code of an owner for numbers. Filters without numbers were written before there were any: for them, these
/// are attributes that do not fit.
const NUMBERS: u8 = 0x80;

/// The hash of the strings or the numbers of an attribute.
pub(super) fn key_hash(kind: FilteredKind, owner: ValueOwner, name: &[u8]) -> u64 {
    let of_kind = if kind == FilteredKind::Numbers { NUMBERS } else { 0 };
    let mut key = vec![owner.code() | of_kind];
    key.extend_from_slice(name);
    murmur3_x64_128(&key).0
}

/// The hash of a value of an attribute: of a string, or of what [`number_bytes`] makes of a number.
fn entry_hash(key: u64, value: &[u8]) -> u64 {
    let (low, high) = murmur3_x64_128(value);
    low ^ high.rotate_left(32).wrapping_add(key)
}

/// Numbers that may be equal in a comparison have the same bytes, whether they are integers or not.
fn number_bytes(number: f64) -> [u8; 8] {
    // Also makes 0 of -0.
    (number + 0.0).to_bits().to_le_bytes()
}

/// Strings or numbers of an attribute of a row group, each once.
#[derive(Debug)]
pub(super) enum DistinctValues {
    Strings(Vec<StringCode>),
    /// The bits of each.
    Numbers(Vec<u64>),
}

/// The values of an attribute of a row group, for its filter.
#[derive(Debug)]
pub(super) struct FilteredValues {
    /// See [`key_hash`].
    key: u64,
    values: DistinctValues,
}

impl FilteredValues {
    pub(super) fn new(owner: ValueOwner, name: &[u8], values: DistinctValues) -> Self {
        Self { key: key_hash(values.kind(), owner, name), values }
    }

    fn add_to(&self, entries: &mut Vec<u64>, strings: &Dictionary) {
        match &self.values {
            DistinctValues::Strings(codes) => {
                entries.extend(codes.iter().map(|code| entry_hash(self.key, strings.get(*code))));
            }
            DistinctValues::Numbers(numbers) => entries.extend(
                numbers
                    .iter()
                    .map(|bits| entry_hash(self.key, &number_bytes(f64::from_bits(*bits)))),
            ),
        }
    }
}

impl DistinctValues {
    fn kind(&self) -> FilteredKind {
        match self {
            Self::Strings(_) => FilteredKind::Strings,
            Self::Numbers(_) => FilteredKind::Numbers,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Strings(codes) => codes.len(),
            Self::Numbers(numbers) => numbers.len(),
        }
    }
}

impl Fingerprints {
    fn bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Bytes(filter) => filter.len(),
            Self::Words(filter) => 2 * filter.len(),
        }
    }
}

/// The size in bits that the filter of a row group with `bytes` may have.
fn budget_bits(bytes: u64) -> u64 {
    bytes / BYTES_A_FILTER_BYTE * 8
}

impl RowGroupFilter {
    /// An attribute with more values does not fit into the filter of a row group with `bytes`.
    pub(crate) fn max_entries(bytes: u64) -> usize {
        usize::try_from(budget_bits(bytes) / ENTRY_BITS[0]).unwrap_or(usize::MAX)
    }

    /// A filter for as many attributes as fit, those with the fewest values first. Numbers take only what strings leave,
    /// and no string gets a shorter fingerprint because of them.
    pub(super) fn new(
        mut attributes: Vec<FilteredValues>,
        strings: &Dictionary,
        bytes: u64,
    ) -> Self {
        attributes.sort_unstable_by_key(|one| (one.values.kind(), one.values.len(), one.key));
        let are_strings = |one: &FilteredValues| one.values.kind() == FilteredKind::Strings;
        let (of_strings, of_numbers) = attributes.split_at(attributes.partition_point(are_strings));
        let mut filter = Self::of(&attributes, strings, bytes);
        // Small filters take more bits for each entry than is reckoned with.
        if filter.is_none() && !of_numbers.is_empty() {
            filter = Self::of(of_strings, strings, bytes);
        }
        filter.unwrap_or_default()
    }

    /// A filter of attributes in this order. `None` if it takes more than it may.
    fn of(attributes: &[FilteredValues], strings: &Dictionary, bytes: u64) -> Option<Self> {
        let budget_bits = budget_bits(bytes);
        let (mut keys, mut all) = (HashSet::default(), Vec::new());
        let mut bits_of_numbers = None;
        for attribute in attributes {
            let bits = match attribute.values.kind() {
                FilteredKind::Strings => ENTRY_BITS[0],
                FilteredKind::Numbers => *bits_of_numbers.get_or_insert_with(|| {
                    let are_words = all.len() as u64 * ENTRY_BITS[1] <= budget_bits;
                    ENTRY_BITS[usize::from(are_words && !all.is_empty())]
                }),
            };
            let count = (all.len() + attribute.values.len()) as u64;
            let key_bits = KEY_BITS * (keys.len() as u64 + 1);
            if count.saturating_mul(bits).saturating_add(key_bits) <= budget_bits {
                attribute.add_to(&mut all, strings);
                keys.insert(attribute.key);
            }
        }
        all.sort_unstable();
        all.dedup();
        let are_words = (all.len() as u64).saturating_mul(ENTRY_BITS[1]) <= budget_bits;
        let fingerprints = if all.is_empty() {
            Some(Fingerprints::None)
        } else if are_words {
            BinaryFuse16::try_from(&all).ok().map(Fingerprints::Words)
        } else {
            BinaryFuse8::try_from(&all).ok().map(Fingerprints::Bytes)
        };
        // Usually one of the first seeds works. If none does, the filter stays empty. A filter with few entries takes
        // more bits for each.
        let fitting = fingerprints.filter(|prints| prints.bytes() as u64 * 8 <= budget_bits);
        fitting.map(|fingerprints| Self { keys, fingerprints })
    }

    fn may_hold(&self, key: u64, entry: u64) -> Option<bool> {
        self.keys.contains(&key).then(|| match &self.fingerprints {
            Fingerprints::None => false,
            Fingerprints::Bytes(filter) => filter.contains(&entry),
            Fingerprints::Words(filter) => filter.contains(&entry),
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut keys: Vec<_> = self.keys.iter().collect();
        keys.sort_unstable();
        put_varint(out, keys.len() as u64);
        keys.into_iter().for_each(|key| out.extend_from_slice(&key.to_le_bytes()));
        let (width, descriptor, count) = match &self.fingerprints {
            Fingerprints::None => return out.push(0),
            Fingerprints::Bytes(filter) => (1, &filter.descriptor, filter.len()),
            Fingerprints::Words(filter) => (2, &filter.descriptor, filter.len()),
        };
        out.push(width);
        out.extend_from_slice(&descriptor.seed.to_le_bytes());
        put_varint(out, descriptor.segment_length.into());
        put_varint(out, descriptor.segment_count_length.into());
        put_varint(out, count as u64);
        match &self.fingerprints {
            Fingerprints::None => {}
            Fingerprints::Bytes(filter) => out.extend_from_slice(&filter.fingerprints),
            Fingerprints::Words(filter) => {
                out.extend(filter.fingerprints.iter().flat_map(|word| word.to_le_bytes()));
            }
        }
    }

    fn decode(input: &mut Cursor<'_>) -> Result<Self> {
        let mut keys = HashSet::default();
        for _ in 0..input.varint()? {
            keys.insert(input.word()?);
        }
        let width = input.byte()?;
        if width == 0 {
            return Ok(Self { keys, fingerprints: Fingerprints::None });
        }
        let seed = input.word()?;
        let number = |input: &mut Cursor<'_>| {
            let number = u32::try_from(input.varint()?).ok();
            number.filter(|&number| number <= MAX_SEGMENTS).ok_or_else(|| corrupt("is too long"))
        };
        let (segment_length, segment_count_length) = (number(input)?, number(input)?);
        let count = number(input)?;
        // Otherwise a look-up could read beyond the end.
        let is_sound = segment_length.is_power_of_two()
            && segment_count_length > 0
            && segment_count_length % segment_length == 0
            && count >= segment_count_length + 2 * segment_length;
        if !is_sound {
            return Err(corrupt("has a filter of an impossible shape"));
        }
        // The library has no public type for the shape of a filter. So a filter is created and its shape replaced.
        macro_rules! filter {
            ($library:ty, $fingerprints:expr) => {{
                let made = <$library>::try_from(&[0_u64][..]);
                let mut filter = made.map_err(|_| corrupt("has a filter that cannot be made"))?;
                filter.descriptor.seed = seed;
                filter.descriptor.segment_length = segment_length;
                filter.descriptor.segment_length_mask = segment_length - 1;
                filter.descriptor.segment_count_length = segment_count_length;
                filter.fingerprints = $fingerprints;
                filter
            }};
        }
        let fingerprints = match width {
            1 => {
                let bytes = input.take(count as usize)?;
                Fingerprints::Bytes(filter!(BinaryFuse8, bytes.into()))
            }
            2 => {
                let (words, _) = input.take(2 * count as usize)?.as_chunks::<2>();
                let words = words.iter().map(|word| u16::from_le_bytes(*word)).collect();
                Fingerprints::Words(filter!(BinaryFuse16, words))
            }
            _ => return Err(corrupt("has a filter of an unknown kind")),
        };
        Ok(Self { keys, fingerprints })
    }

    fn heap_bytes(&self) -> usize {
        self.fingerprints.bytes() + self.keys.capacity() * 2 * size_of::<u64>() + size_of::<Self>()
    }
}

impl BlockFilter {
    pub(crate) fn push(&mut self, row_group: RowGroupFilter) {
        self.row_groups.push(row_group);
    }

    /// For each row group, false if no attribute with this name has the string there; `None` if unknown.
    pub fn may_hold(&self, owner: ValueOwner, name: &[u8], text: &[u8]) -> Vec<Option<bool>> {
        self.may_have(key_hash(FilteredKind::Strings, owner, name), text)
    }

    /// For each row group, false if no attribute with this name has a number there that equals this one; `None` if unknown.
    pub fn may_hold_number(
        &self,
        owner: ValueOwner,
        name: &[u8],
        number: f64,
    ) -> Vec<Option<bool>> {
        self.may_have(key_hash(FilteredKind::Numbers, owner, name), &number_bytes(number))
    }

    fn may_have(&self, key: u64, value: &[u8]) -> Vec<Option<bool>> {
        let entry = entry_hash(key, value);
        self.row_groups.iter().map(|row_group| row_group.may_hold(key, entry)).collect()
    }

    /// Estimated bytes of memory held.
    pub fn heap_bytes(&self) -> usize {
        self.row_groups.iter().map(RowGroupFilter::heap_bytes).sum()
    }

    /// The encoded part. It is not compressed, because fingerprints do not compress. Empty if the filter holds nothing.
    pub(crate) fn encode(&self) -> Vec<u8> {
        if self.row_groups.iter().all(|row_group| row_group.keys.is_empty()) {
            return Vec::new();
        }
        let mut body = Vec::new();
        put_varint(&mut body, self.row_groups.len() as u64);
        self.row_groups.iter().for_each(|row_group| row_group.encode(&mut body));
        let mut out = crc32fast::hash(&body).to_le_bytes().to_vec();
        out.append(&mut body);
        out
    }

    /// Decodes the part of a summary. Errors: `Error::Corrupt`.
    pub fn decode(part: &[u8]) -> Result<Self> {
        let (crc, body) = part.split_first_chunk::<4>().ok_or_else(|| corrupt("is cut off"))?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(corrupt("does not match its checksum"));
        }
        let mut input = Cursor { rest: body };
        let mut filter = Self::default();
        let row_groups = input.varint()?;
        if row_groups > MAX_ROW_GROUPS.into() {
            return Err(corrupt("has too many row groups"));
        }
        for _ in 0..row_groups {
            filter.push(RowGroupFilter::decode(&mut input)?);
        }
        Ok(filter)
    }
}
