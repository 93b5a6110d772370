use super::delta::{Integer, Packing, put_integers, put_lengths};
use super::hybrid::{
    index_bytes, put_indices, put_level_section, put_levels, put_narrow_level_section,
    put_packed_indices,
};
use super::plain::{put_all_false, put_booleans};
use crate::decoding::hybrid::decode_levels;
use proptest::prelude::*;

/// The obvious decoder of whole-byte-wide hybrid runs.
fn decode_hybrid(mut bytes: &[u8], width: usize, count: usize) -> Vec<u32> {
    let mut values = Vec::new();
    while values.len() < count {
        let header = take_uleb(&mut bytes);
        let take = |bytes: &mut &[u8]| {
            let (value, rest) = bytes.split_at(width);
            *bytes = rest;
            value.iter().rev().fold(0u32, |value, &byte| value << 8 | u32::from(byte))
        };
        if header & 1 == 0 {
            let value = take(&mut bytes);
            values.extend(std::iter::repeat_n(value, (header >> 1) as usize));
        } else {
            values.extend((0..(header >> 1) * 8).map(|_| take(&mut bytes)));
        }
    }
    assert!(bytes.is_empty());
    values.truncate(count);
    values
}

fn take_uleb(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (&byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

/// The obvious decoder of DELTA_BINARY_PACKED, for whole-byte widths.
fn decode_delta(mut bytes: &[u8]) -> (Vec<i64>, usize) {
    let zigzag = |value: u64| (value >> 1) as i64 ^ -((value & 1) as i64);
    let before = bytes.len();
    assert_eq!(take_uleb(&mut bytes), 128);
    assert_eq!(take_uleb(&mut bytes), 4);
    let count = take_uleb(&mut bytes) as usize;
    let mut values = vec![zigzag(take_uleb(&mut bytes))];
    while values.len() < count {
        let base = zigzag(take_uleb(&mut bytes));
        let (widths, mut rest) = bytes.split_at(4);
        for &width in widths {
            assert_eq!(width % 8, 0);
            if values.len() == count {
                assert_eq!(width, 0);
                continue;
            }
            let (miniblock, tail) = rest.split_at(usize::from(width) * 4);
            rest = tail;
            for position in 0..32.min(count - values.len()) {
                let at = position * usize::from(width) / 8;
                let packed = &miniblock[at..at + usize::from(width) / 8];
                let delta = packed.iter().rev().fold(0u64, |all, &byte| all << 8 | u64::from(byte));
                let last = values[values.len() - 1];
                values.push(last.wrapping_add(base).wrapping_add(delta as i64));
            }
        }
        bytes = rest;
    }
    values.truncate(count);
    (values, before - bytes.len())
}

proptest! {
    #[test]
    fn levels_decode_to_themselves(runs in prop::collection::vec((0u8..6, 1usize..200), 0..60)) {
        let levels: Vec<u8> =
            runs.iter().flat_map(|&(level, count)| std::iter::repeat_n(level, count)).collect();
        let mut out = Vec::new();
        put_levels(&mut out, &levels);
        let expected: Vec<u32> = levels.iter().map(|&level| u32::from(level)).collect();
        prop_assert_eq!(decode_hybrid(&out, 1, levels.len()), expected);
    }

    #[test]
    fn short_runs_of_levels_decode_to_themselves(levels in prop::collection::vec(0u8..3, 0..300)) {
        let mut out = vec![1, 2, 3];
        put_level_section(&mut out, &levels);
        let length = u32::from_le_bytes(out[3..7].try_into().unwrap()) as usize;
        prop_assert_eq!(length, out.len() - 7);
        let expected: Vec<u32> = levels.iter().map(|&level| u32::from(level)).collect();
        prop_assert_eq!(decode_hybrid(&out[7..], 1, levels.len()), expected);
    }

    #[test]
    fn narrow_levels_decode_to_themselves_and_are_no_longer_than_runs(
        max in 1u8..4, runs in prop::collection::vec((0u8..4, 1usize..20), 1..60),
    ) {
        let levels: Vec<u8> = runs
            .iter()
            .flat_map(|&(level, count)| std::iter::repeat_n(level.min(max), count))
            .collect();
        let (mut narrow, mut as_runs) = (vec![1, 2, 3], vec![1, 2, 3]);
        put_narrow_level_section(&mut narrow, &levels, max);
        put_level_section(&mut as_runs, &levels);
        prop_assert!(narrow.len() <= as_runs.len() + 2);
        let length = u32::from_le_bytes(narrow[3..7].try_into().unwrap()) as usize;
        prop_assert_eq!(length, narrow.len() - 7);
        let mut buffer = Vec::new();
        let found = decode_levels(&narrow[7..], max, levels.len(), &mut buffer).unwrap();
        let found: Vec<u8> = (0..levels.len()).map(|entry| found.at(entry)).collect();
        prop_assert_eq!(found, levels);
    }

    #[test]
    fn indices_decode_to_themselves(
        entries in prop::sample::select(vec![1usize, 2, 256, 257, 65_536, 65_537, 1 << 24, (1 << 24) + 1]),
        picks in prop::collection::vec(any::<u32>(), 0..50),
    ) {
        let indices: Vec<u32> = picks.iter().map(|&pick| pick % entries as u32).collect();
        let mut out = Vec::new();
        put_indices(&mut out, &indices, index_bytes(entries));
        prop_assert_eq!(usize::from(out[0]), index_bytes(entries) * 8);
        prop_assert_eq!(decode_hybrid(&out[1..], index_bytes(entries), indices.len()), indices);
    }

    #[test]
    fn integers_decode_to_themselves(values in integers()) {
        let mut out = Vec::new();
        put_integers(&mut out, &values, Integer::Bits64, Packing::Bytes);
        if values.is_empty() {
            prop_assert_eq!(out, [128, 1, 4, 0, 0]);
        } else {
            prop_assert_eq!(decode_delta(&out), (values, out.len()));
        }
    }

    #[test]
    fn narrow_integers_decode_to_themselves(values in prop::collection::vec(any::<i32>(), 1..300)) {
        let wide: Vec<i64> = values.iter().map(|&value| i64::from(value)).collect();
        let mut out = Vec::new();
        put_integers(&mut out, &wide, Integer::Bits32, Packing::Bytes);
        let (decoded, length) = decode_delta(&out);
        prop_assert_eq!(decoded.iter().map(|&value| value as i32).collect::<Vec<_>>(), values);
        prop_assert_eq!(length, out.len());
    }

    #[test]
    fn packed_integers_are_read_back_and_no_longer(values in integers(), narrow in any::<bool>()) {
        let integer = if narrow { Integer::Bits32 } else { Integer::Bits64 };
        let values: Vec<i64> = match narrow {
            true => values.into_iter().map(|value| i64::from(value as i32)).collect(),
            false => values,
        };
        let (mut packed, mut bytes) = (Vec::new(), Vec::new());
        put_integers(&mut packed, &values, integer, Packing::Bits);
        put_integers(&mut bytes, &values, integer, Packing::Bytes);
        prop_assert!(packed.len() <= bytes.len() + 10 * values.len().div_ceil(128));
        let mut found: Vec<u64> = Vec::new();
        let rest = crate::decoding::delta::decode_delta(&packed, values.len(), &mut found).unwrap();
        prop_assert!(rest.is_empty());
        let found: Vec<i64> = match narrow {
            true => found.into_iter().map(|value| i64::from(value as i32)).collect(),
            false => found.into_iter().map(|value| value as i64).collect(),
        };
        prop_assert_eq!(found, values);
    }

    #[test]
    fn packed_indices_are_read_back(
        entries in prop::sample::select(vec![1usize, 2, 3, 256, 257, 65_537]),
        picks in prop::collection::vec(any::<u32>(), 0..50),
    ) {
        let indices: Vec<u32> = picks.iter().map(|&pick| pick % entries as u32).collect();
        let mut out = Vec::new();
        put_packed_indices(&mut out, &indices, entries);
        let mut found = Vec::new();
        crate::decoding::hybrid::decode_codes(&out, 0, indices.len(), entries, &mut found).unwrap();
        prop_assert_eq!(found, indices);
    }

    #[test]
    fn booleans_are_packed_from_the_low_bit(values in prop::collection::vec(0u8..2, 0..40)) {
        let mut out = Vec::new();
        put_booleans(&mut out, &values);
        prop_assert_eq!(out.len(), values.len().div_ceil(8));
        for (position, &value) in values.iter().enumerate() {
            prop_assert_eq!(out[position / 8] >> (position % 8) & 1, value);
        }
    }
}

fn integers() -> impl Strategy<Value = Vec<i64>> {
    let value = prop_oneof![
        any::<i64>(),
        -3i64..3,
        (0i64..1000).prop_map(|offset| 1_700_000_000_000_000_000 + offset * 1_000_003),
        Just(i64::MAX),
        Just(i64::MIN),
        -200i64..200,
        -70_000i64..70_000,
    ];
    prop_oneof![
        prop::collection::vec(value, 0..400),
        (any::<i64>(), 0usize..400).prop_map(|(value, count)| vec![value; count]),
    ]
}

#[test]
fn constant_integers_take_next_to_nothing() {
    let mut out = Vec::new();
    put_integers(&mut out, &[0; 1280], Integer::Bits32, Packing::Bytes);
    assert_eq!(out.len(), 5 + 1 + 10 * 5);
    out.clear();
    put_lengths(&mut out, &[8; 128]);
    assert_eq!(out.len(), 5 + 1 + 5);
    out.clear();
    put_all_false(&mut out, 17);
    assert_eq!(out, [0; 3]);
}

#[test]
fn constant_indices_are_one_run() {
    let mut out = Vec::new();
    put_indices(&mut out, &[7; 100_000], 2);
    assert_eq!(out, [16, 0xc0, 0x9a, 0x0c, 7, 0]);
}
