use proptest::prelude::*;

use super::*;

const FOUR: [&str; 4] = [
    "0af7651916cd43dd8448eb211c80319c",
    "0000000000000000463ac35c9f6413ad",
    "ffffffffffffffffffffffffffffffff",
    "5b8efff798038103d269b633813fc60c",
];

fn id(hex: &str) -> [u8; 16] {
    u128::from_str_radix(hex, 16).unwrap().to_be_bytes()
}

fn four() -> [[u8; 16]; 4] {
    FOUR.map(id)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn fnv1_of_the_known_ids_matches() {
    let hashes = four().map(|id| fnv1_32(FNV_32_BASIS, &id));
    assert_eq!(hashes, [4_266_582_382, 489_286_377, 4_230_643_797, 4_042_285_967]);
}

#[test]
fn shard_of_the_known_ids_matches() {
    assert_eq!(four().map(|id| shard_of(&id, 3)), [1, 0, 0, 2]);
    assert_eq!(four().map(|id| shard_of(&id, 10)), [2, 7, 7, 7]);
    assert_eq!(four().map(|id| shard_of(&id, 11)), [7, 8, 6, 5]);
}

#[test]
fn shard_count_zero_means_ten() {
    assert_eq!(four().map(|id| shard_of(&id, 0)), [2, 7, 7, 7]);
}

#[test]
fn estimate_for_one_percent_matches() {
    let cases = [
        (1, 10, 1),
        (100, 959, 1),
        (1000, 9586, 1),
        (85_000, 814_730, 1),
        (85_470, 819_235, 2),
        (870_825, 8_346_909, 11),
        (6_000_000, 57_510_351, 71),
        (100_000_000, 958_505_838, 1000),
    ];
    for (traces, bits, shards) in cases {
        let estimate = BloomEstimate::new(traces, 0.01);
        assert_eq!(estimate, BloomEstimate { bits, hashes: 7 }, "{traces}");
        assert_eq!(estimate.shards(102_400), shards, "{traces}");
    }
}

#[test]
fn estimate_for_other_rates_matches() {
    let estimate = |rate| {
        let estimate = BloomEstimate::new(1000, rate);
        (estimate.bits, estimate.hashes)
    };
    assert_eq!(estimate(0.001), (14_378, 10));
    assert_eq!(estimate(0.05), (6236, 5));
    assert_eq!(estimate(0.1), (4793, 4));
}

#[test]
fn estimate_for_no_traces_counts_one() {
    assert_eq!(BloomEstimate::new(0, 0.01), BloomEstimate::new(1, 0.01));
}

#[test]
fn bloom_of_the_known_ids_matches_byte_for_byte() {
    let encode = |ids: &[[u8; 16]]| {
        let mut bloom = BlockBloom::new(0.01, 20, 1).unwrap();
        ids.iter().for_each(|id| bloom.add(id));
        hex(&bloom.encode()[0])
    };
    let head = "00000000000000a0000000000000000700000000000000a0";
    let ids = four();
    assert_eq!(
        encode(&ids[..1]),
        format!("{head}408000400000000080000004000000000000000000000400")
    );
    assert_eq!(
        encode(&ids[1..2]),
        format!("{head}000600000400000000002000200000000000000000000022")
    );
    assert_eq!(encode(&ids), format!("{head}408600500602000180402104200020100000000044010463"));
}

#[test]
fn sample_bloom_is_rebuilt_byte_for_byte() {
    let mut bloom = BlockBloom::new(0.01, 102_400, 64).unwrap();
    four().iter().for_each(|id| bloom.add(id));
    for i in 0u8..60 {
        let mut filler = [0u8; 16];
        filler[0] = 0x10 + 3 * i;
        filler[7] = 0x77;
        filler[15] = i;
        bloom.add(&filler);
    }
    let built = bloom.encode();
    assert_eq!(built.len(), 1);
    for block in [
        "vParquet4/single-tenant/11111111-1111-4111-8111-111111111111",
        "vParquet5/single-tenant/22222222-2222-4222-8222-222222222222",
    ] {
        let path = crate::test_data::blocks().join(block).join("bloom-0");
        let sample = std::fs::read(path).unwrap();
        assert_eq!(sample.len(), 102_424);
        assert!(built[0] == sample, "bloom of {block} differs");
    }
}

#[test]
fn damaged_filter_is_corrupt() {
    let good = BlockBloom::new(0.01, 20, 1).unwrap().encode()[0].clone();
    assert!(BloomShard::decode(good.clone()).is_ok());
    for length in 0..good.len() {
        assert!(BloomShard::decode(good.slice(..length)).is_err(), "{length}");
    }
    for byte in [7, 15] {
        let mut zeroed = good.to_vec();
        zeroed[byte] = 0;
        assert!(BloomShard::decode(zeroed.into()).is_err(), "{byte}");
    }
    let mut endless = good.to_vec();
    endless[8] = 0x80;
    assert!(BloomShard::decode(endless.into()).is_err());
}

#[test]
fn bad_parameters_are_invalid() {
    for rate in [0.0, 1.0, -1.0, f64::NAN] {
        assert!(BlockBloom::new(rate, 100, 1).is_err(), "{rate}");
    }
    assert!(BlockBloom::new(0.01, 0, 1).is_err());
}

#[test]
fn folded_filter_takes_memory_by_its_ids_and_stays_sharp() {
    let number = |n: u32| {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        id[8..12].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
        id
    };
    for (ids, most_bytes) in
        [(0, 200), (1, 200), (1_000, 3_200), (20_000, 51_200), (80_000, 102_400)]
    {
        let mut bloom = BlockBloom::new(0.01, 102_400, ids.into()).unwrap();
        (0..ids).for_each(|n| bloom.add(&number(n)));
        let folded = BloomShard::decode(bloom.encode()[0].clone()).unwrap().folded();
        assert!(folded.heap_bytes() <= most_bytes, "{ids}: {}", folded.heap_bytes());
        assert!((0..ids).all(|n| folded.may_contain(&number(n))));
        let wrong = (1_000_000..1_100_000).filter(|&n| folded.may_contain(&number(n))).count();
        assert!(wrong < if ids < 80_000 { 100 } else { 1_000 }, "{ids}: {wrong} of 100000");
        assert_eq!(folded.folded().heap_bytes(), folded.heap_bytes());
    }
}

proptest! {
    #[test]
    fn folded_filter_finds_what_was_found_before(
        ids in proptest::collection::vec(any::<[u8; 16]>(), 0..50),
        others in proptest::collection::vec(any::<[u8; 16]>(), 1..50),
        shard_bytes in 1u32..2_000,
    ) {
        let mut bloom = BlockBloom::new(0.01, shard_bytes, 1).unwrap();
        ids.iter().for_each(|id| bloom.add(id));
        let shard = BloomShard::decode(bloom.encode()[0].clone()).unwrap();
        let folded = shard.folded();
        for id in ids.iter().chain(&others).filter(|id| shard.may_contain(id)) {
            prop_assert!(folded.may_contain(id));
        }
    }

    #[test]
    fn added_ids_are_always_found(ids in proptest::collection::vec(any::<[u8; 16]>(), 1..200)) {
        let mut bloom = BlockBloom::new(0.01, 30, ids.len() as u64).unwrap();
        ids.iter().for_each(|id| bloom.add(id));
        let shards: Vec<_> = bloom.encode().into_iter().map(|b| BloomShard::decode(b).unwrap()).collect();
        for id in &ids {
            prop_assert!(shards[shard_of(id, bloom.shard_count()) as usize].may_contain(id));
        }
    }

    #[test]
    fn decode_of_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(shard) = BloomShard::decode(bytes.into()) {
            shard.may_contain(&[7; 16]);
        }
    }
}
