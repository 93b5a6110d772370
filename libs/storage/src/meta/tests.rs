use proptest::prelude::*;

use super::*;

const SAMPLE: &str = "vParquet4/single-tenant/11111111-1111-4111-8111-111111111111/meta.json";

fn sample_meta() -> BlockMeta {
    BlockMeta {
        format: "vParquet4".into(),
        block_id: "11111111-1111-4111-8111-111111111111".parse().unwrap(),
        tenant_id: "single-tenant".into(),
        start_time: Timestamp::from_second(1_700_000_000).unwrap(),
        end_time: Timestamp::from_second(1_700_000_060).unwrap(),
        total_objects: 64,
        size: 103_582,
        total_records: 3,
        bloom_shards: 1,
        footer_size: 49_131,
        dedicated_columns: vec![
            DedicatedColumn::string(ColumnScope::Resource, "ip"),
            DedicatedColumn::string(ColumnScope::Span, "region"),
            DedicatedColumn::string(ColumnScope::Span, "customer"),
        ]
        .into(),
        ..BlockMeta::default()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn columns(json: &str) -> Vec<DedicatedColumn> {
    serde_json::from_str(json).unwrap()
}

#[test]
fn sample_meta_serializes_to_the_same_bytes() {
    let sample = std::fs::read(crate::test_data::blocks().join(SAMPLE)).unwrap();
    assert_eq!(sample.len(), 403);
    assert_eq!(sample_meta().to_json(), sample);
    assert_eq!(BlockMeta::from_json(&sample).unwrap(), sample_meta());
}

#[test]
fn vparquet5_sample_meta_round_trips() {
    let path = "vParquet5/single-tenant/22222222-2222-4222-8222-222222222222/meta.json";
    let sample = std::fs::read(crate::test_data::blocks().join(path)).unwrap();
    assert_eq!(BlockMeta::from_json(&sample).unwrap().to_json(), sample);
}

#[test]
fn meta_as_protobuf_matches() {
    let meta = BlockMeta {
        tenant_id: "t1".into(),
        end_time: Timestamp::new(1_700_000_060, 5).unwrap(),
        size: 12_345,
        compaction_level: 1,
        total_records: 2,
        footer_size: 777,
        dedicated_columns: columns(r#"[{"s":"resource","n":"ip"},{"n":"region"}]"#).into(),
        replication_factor: 1,
        ..sample_meta()
    };
    let expected = "0a097650617271756574341210111111111111411181111111111111112a02743132060880e2cfaa063a0808bce2cfaa061005404048b96050015a010068027801800189068a012a5b7b2273223a227265736f75726365222c226e223a226970227d2c7b226e223a22726567696f6e227d5d900101";
    assert_eq!(hex(&meta.to_proto()), expected);
    assert_eq!(BlockMeta::from_proto(&meta.to_proto()).unwrap(), meta);

    let without_encoding = expected.replacen("5a0100", "", 1);
    let bytes: Vec<u8> = (0..without_encoding.len() / 2)
        .map(|i| u8::from_str_radix(&without_encoding[2 * i..2 * i + 2], 16).unwrap())
        .collect();
    assert_eq!(BlockMeta::from_proto(&bytes).unwrap(), meta);
}

#[test]
fn zero_meta_as_protobuf_matches() {
    let expected = "121000000000000000000000000000000000320b088092b8c398feffffff013a0b088092b8c398feffffff015a01008a0100";
    assert_eq!(hex(&BlockMeta::default().to_proto()), expected);
}

#[test]
fn sources_are_the_last_key_and_field_1000_and_nothing_without_them() {
    let source = "22222222-2222-4222-8222-222222222222";
    let extension = Extension { sources: vec![source.parse().unwrap()], ..Extension::default() };
    let plain = sample_meta();
    let meta = BlockMeta { extension: Some(Box::new(extension)), ..plain.clone() };
    let tail = format!(r#""tactus":{{"sources":["{source}"]}}}}"#);
    let json = String::from_utf8(meta.to_json()).unwrap();
    assert_eq!(json.strip_suffix(&tail).unwrap(), {
        let plain = String::from_utf8(plain.to_json()).unwrap();
        format!("{},", plain.strip_suffix('}').unwrap())
    });
    // Field 1000, wire type 2, 52 bytes of JSON.
    let value = format!(r#"{{"sources":["{source}"]}}"#);
    let expected = [&plain.to_proto()[..], &[0xc2, 0x3e, 52], value.as_bytes()].concat();
    assert_eq!(hex(&meta.to_proto()), hex(&expected));
    for read in [BlockMeta::from_json(&meta.to_json()), BlockMeta::from_proto(&meta.to_proto())] {
        assert_eq!(read.unwrap(), meta);
    }
    let empty = BlockMeta { extension: Some(Box::default()), ..plain.clone() };
    assert_eq!(BlockMeta::from_json(&empty.to_json()).unwrap(), plain);
}

#[test]
fn extension_of_another_shape_counts_as_absent() {
    for value in [r#""later""#, "[1]", "null", r#"{"sources":"all"}"#, r#"{"sources":["x"]}"#] {
        let meta = BlockMeta::from_json(format!(r#"{{"tactus":{value}}}"#).as_bytes()).unwrap();
        assert!(meta.sources().is_empty(), "{value}");
    }
    let more = br#"{"tactus":{"sources":["22222222-2222-4222-8222-222222222222"],"more":{"a":1}}}"#;
    assert_eq!(BlockMeta::from_json(more).unwrap().sources().len(), 1);
}

#[test]
fn zero_times_are_written_as_year_one() {
    let json = String::from_utf8(BlockMeta::default().to_json()).unwrap();
    assert!(json.contains(r#""startTime":"0001-01-01T00:00:00Z""#), "{json}");
}

#[test]
fn fractions_are_written_without_trailing_zeros() {
    let meta = BlockMeta {
        end_time: Timestamp::new(1_700_000_060, 500_000_000).unwrap(),
        ..sample_meta()
    };
    let json = String::from_utf8(meta.to_json()).unwrap();
    assert!(json.contains(r#""endTime":"2023-11-14T22:14:20.5Z""#), "{json}");
}

#[test]
fn meta_is_read_leniently() {
    let meta = BlockMeta::from_json(
        br#"{"FORMAT":"vParquet4","unknown":{"a":[1]},"dedicatedColumns":null,
            "startTime":"2023-11-14T22:13:20+02:00","encoding":""}"#,
    )
    .unwrap();
    assert_eq!(meta.format, "vParquet4");
    assert_eq!(meta.start_time.as_second(), 1_699_992_800);
    assert_eq!(meta.end_time, zero_time());
    assert_eq!(meta.encoding.as_str(), "none");
}

#[test]
fn meta_with_wrong_types_is_corrupt() {
    for json in [
        r#"{"blockID":"x"}"#,
        r#"{"startTime":1700000000}"#,
        r#"{"startTime":"yesterday"}"#,
        r#"{"totalObjects":"5"}"#,
        r#"{"encoding":"brotli"}"#,
        r#"{"dedicatedColumns":[{"s":"planet","n":"x"}]}"#,
        r#"{"format":"vParquet4""#,
        "[]",
        "",
    ] {
        let error = BlockMeta::from_json(json.as_bytes()).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{json}");
    }
}

#[test]
fn unknown_version_keeps_its_name_and_is_invalid_to_open() {
    let meta = BlockMeta::from_json(br#"{"format":"vParquet9"}"#).unwrap();
    assert_eq!(meta.format, "vParquet9");
    let error = meta.version().unwrap_err();
    assert!(error.to_string().ends_with("vParquet9 is not a valid block version"), "{error}");
}

#[test]
fn missing_bloom_count_means_ten() {
    assert_eq!(BlockMeta::default().bloom_shard_count(), 10);
    assert_eq!(sample_meta().bloom_shard_count(), 1);
}

#[test]
fn compacted_meta_has_its_time_last() {
    let compacted = CompactedBlockMeta {
        meta: sample_meta(),
        compacted_time: Timestamp::from_second(1_700_000_100).unwrap(),
    };
    let json = serde_json::to_string(&compacted).unwrap();
    assert!(json.ends_with(r#"],"compactedTime":"2023-11-14T22:15:00Z"}"#), "{json}");
    assert_eq!(serde_json::from_str::<CompactedBlockMeta>(&json).unwrap(), compacted);
}

#[test]
fn compacted_block_is_queried_for_two_poll_intervals() {
    let compacted = CompactedBlockMeta {
        meta: sample_meta(),
        compacted_time: Timestamp::from_second(1000).unwrap(),
    };
    let queried_at = |second, interval| {
        let now = Timestamp::from_second(second).unwrap();
        compacted.is_still_queried(now, Duration::from_secs(interval))
    };
    assert!(queried_at(1600, 300) && !queried_at(1601, 300));
    // The store's clock may be ahead of ours, however short the interval is.
    for (interval, ahead) in [(10, 3_600), (300, 3_600), (3_600, 7_200)] {
        assert!(queried_at(1000 - ahead, interval) && !queried_at(999 - ahead, interval));
    }
}

#[test]
fn column_hash_matches() {
    let hash = |json| columns_hash(&columns(json));
    let five = r#"[{"s":"resource","n":"ip"},{"n":"instance"},{"n":"version"},{"n":"region"},{"n":"sampler.type"}]"#;
    assert_eq!(hash(five), 7_532_653_372_511_711_605);
    assert_eq!(hash("[]"), 0);
    assert_eq!(hash(r#"[{"n":"a","t":"int"}]"#), 16_914_964_005_751_110_127);
    assert_eq!(hash(r#"[{"n":"a","o":["blob","array"]}]"#), 4_498_068_509_268_163_004);
    assert_eq!(columns_hash(&default_columns()), 0x14E2_6523_8EE5_4F28);
}

#[test]
fn column_leaves_out_default_keys() {
    let json = r#"[{"s":"span","n":"x","t":"string","o":[]}]"#;
    assert_eq!(serde_json::to_string(&columns(json)).unwrap(), r#"[{"n":"x"}]"#);
}

#[test]
fn vparquet4_has_room_for_ten_columns_of_a_scope() {
    use ColumnScope::{Resource, Span};
    let all = [Span, Resource]
        .map(|scope| (0..12).map(move |n| DedicatedColumn::string(scope, &format!("x{n}"))));
    let all: Vec<_> = all.into_iter().flatten().collect();
    let filtered = filter_for_vparquet4(&all);
    assert_eq!(filtered, [&all[..10], &all[12..22]].concat());
    assert_eq!(columns_of_version(BlockVersion::VParquet5, &all), all);
}

#[test]
fn default_columns_filtered_for_vparquet4_match() {
    let filtered = serde_json::to_string(&filter_for_vparquet4(&default_columns())).unwrap();
    let expected = r#"[{"n":"http.request.method"},{"n":"url.path"},{"n":"url.route"},{"n":"server.address"},{"n":"http.route"}]"#;
    assert_eq!(filtered, expected);
}

#[test]
fn starts_are_noted_if_they_are_beyond_the_time_range() {
    const HOUR: u64 = 3_600;
    let starts = |first: u64, last: u64| {
        let mut meta = BlockMeta::new(BlockVersion::VParquet4, "t", Uuid::nil());
        let nanos = |seconds| seconds * 1_000_000_000;
        meta.set_time_range_unix_nanos(nanos(10 * HOUR), nanos(11 * HOUR));
        meta.note_starts(nanos(first), nanos(last));
        let read = BlockMeta::from_json(&meta.to_json()).unwrap();
        assert_eq!(read.starts(), meta.starts());
        meta.starts().map(|(first, last)| (first as u64, last as u64))
    };
    assert_eq!(starts(10 * HOUR, 11 * HOUR), None);
    assert_eq!(starts(9 * HOUR, 11 * HOUR), Some((9 * HOUR, 11 * HOUR + 1)));
    assert_eq!(starts(10 * HOUR, 12 * HOUR), Some((10 * HOUR, 12 * HOUR + 1)));
    assert_eq!(starts(0, 999 * HOUR), Some((4 * HOUR, 17 * HOUR + 1)));
}

#[test]
fn bad_column_lists_are_refused() {
    let many = |count| {
        let columns: Vec<_> = (0..count)
            .map(|i| DedicatedColumn::int(ColumnScope::Event, &format!("a{i}")))
            .collect();
        validate_columns(&columns)
    };
    assert!(many(5).is_ok());
    assert!(many(6).is_err());
    assert!(validate_columns(&columns(r#"[{"n":""}]"#)).is_err());
    assert!(validate_columns(&columns(r#"[{"n":"a"},{"n":"a","t":"int"}]"#)).is_err());
    assert!(validate_columns(&columns(r#"[{"n":"a"},{"n":"a","s":"event"}]"#)).is_ok());
    assert!(validate_columns(&default_columns()).is_ok());
}

proptest! {
    #[test]
    fn any_meta_round_trips_as_json_and_protobuf(
        id: u128, tenant in "[a-z]{0,8}", start: u64, end: u64, objects in 0..=i64::MAX as u64,
        size: u64, level: u32, records: u32, name in ".{1,12}",
    ) {
        let mut meta = BlockMeta {
            block_id: Uuid::from_u128(id),
            tenant_id: tenant,
            total_objects: objects,
            size,
            compaction_level: level,
            total_records: records,
            dedicated_columns: vec![DedicatedColumn::int(ColumnScope::Event, &name)].into(),
            ..sample_meta()
        };
        meta.set_time_range_unix_nanos(start, end);
        prop_assert_eq!(&BlockMeta::from_json(&meta.to_json()).unwrap(), &meta);
        prop_assert_eq!(&BlockMeta::from_proto(&meta.to_proto()).unwrap(), &meta);
    }

    #[test]
    fn protobuf_of_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = BlockMeta::from_proto(&bytes);
    }
}
