use super::*;
use proptest::prelude::*;

/// Encodes values in chunks of 24: repeated where all are equal, else bit-packed.
fn encode(values: &[u32], width: u32) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in values.chunks(24) {
        if chunk.iter().all(|value| *value == chunk[0]) {
            put_varint(&mut out, (chunk.len() as u64) << 1);
            out.extend_from_slice(&chunk[0].to_le_bytes()[..width.div_ceil(8) as usize]);
        } else {
            put_varint(&mut out, (chunk.len().div_ceil(8) as u64) << 1 | 1);
            let mut bytes = vec![0u8; chunk.len().div_ceil(8) * width as usize];
            for (i, value) in chunk.iter().enumerate() {
                for bit in 0..width as usize {
                    let at = i * width as usize + bit;
                    bytes[at / 8] |= ((value >> bit & 1) as u8) << (at % 8);
                }
            }
            out.extend_from_slice(&bytes);
        }
    }
    out
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn expand(runs: &[(u32, usize)]) -> Vec<u32> {
    runs.iter().flat_map(|&(value, count)| std::iter::repeat_n(value, count)).collect()
}

proptest! {
    #[test]
    fn codes_read_back_from_any_position(
        runs in proptest::collection::vec((0u32..1000, 1usize..40), 1..20), skip in 0usize..200,
    ) {
        let values = expand(&runs);
        let skip = skip.min(values.len());
        let mut body = vec![10u8];
        body.extend(encode(&values, 10));
        let mut out = vec![7];
        decode_codes(&body, skip, values.len() - skip, 1000, &mut out).unwrap();
        prop_assert_eq!(&out[1..], &values[skip..]);
        let top = *values.iter().max().unwrap() as usize;
        prop_assert!(decode_codes(&body, 0, values.len(), top, &mut out).is_err());
    }

    #[test]
    fn levels_read_back_and_count(runs in proptest::collection::vec((0u32..6, 1usize..40), 1..20)) {
        let values = expand(&runs);
        let mut buffer = Vec::new();
        let levels = decode_levels(&encode(&values, 3), 5, values.len(), &mut buffer).unwrap();
        for (entry, value) in values.iter().enumerate() {
            prop_assert_eq!(u32::from(levels.at(entry)), *value);
        }
        let twos = values.iter().filter(|value| **value == 2).count();
        prop_assert_eq!(levels.count_of(2, values.len()), twos);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..80), count in 0usize..500, skip in 0usize..50,
    ) {
        let _ = decode_levels(&bytes, 5, count, &mut Vec::new());
        let _ = decode_codes(&bytes, skip, count, 100, &mut Vec::new());
        let _ = decode_booleans(&bytes, skip, count, &mut Vec::new());
    }
}

#[test]
fn one_run_for_all_is_constant() {
    let mut buffer = Vec::new();
    let levels = decode_levels(&[10 << 1, 3], 3, 10, &mut buffer).unwrap();
    assert_eq!(levels, Levels::Constant(3));
    assert_eq!(levels.count_of(3, 10), 10);
}

#[test]
fn levels_above_the_maximum_are_refused() {
    assert!(decode_levels(&[10 << 1, 3], 2, 10, &mut Vec::new()).is_err());
    assert!(decode_levels(&[1 << 1 | 1, 0xff, 0xff], 2, 8, &mut Vec::new()).is_err());
}

#[test]
fn huge_declared_runs_are_cut_to_the_values_of_the_page() {
    let mut section = Vec::new();
    put_varint(&mut section, u64::from(u32::MAX) << 1);
    section.push(1);
    let mut buffer = Vec::new();
    assert_eq!(decode_levels(&section, 1, 5, &mut buffer).unwrap(), Levels::Constant(1));
}

#[test]
fn booleans_are_read_after_their_length() {
    let mut out = Vec::new();
    decode_booleans(&[2, 0, 0, 0, 1 << 1 | 1, 0b0000_0101], 1, 3, &mut out).unwrap();
    assert_eq!(out, [0, 1, 0]);
}
