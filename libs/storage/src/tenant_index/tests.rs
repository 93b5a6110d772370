use std::io::Read as _;

use super::*;
use crate::meta::Extension;

fn sample(version: &str, name: &str) -> Vec<u8> {
    let path = crate::test_data::blocks().join(version).join("single-tenant").join(name);
    std::fs::read(path).unwrap()
}

fn gunzip(bytes: &[u8]) -> String {
    let mut text = String::new();
    MultiGzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

/// Both forms of an index, decoded within bounds.
fn within(index: &TenantIndex, bounds: Bounds) -> [Result<(TenantIndex, usize)>; 2] {
    let (json, proto) = (index.to_json_gz(), index.to_proto_zst());
    let mut of_json = Entries::new(|_: &BlockMeta| true, bounds);
    let mut of_proto = Entries::new(|_: &BlockMeta| true, bounds);
    let json = json::decode(MultiGzDecoder::new(&*json), &mut of_json);
    let proto = protobuf::decode(zstd::Decoder::new(&*proto).unwrap(), &mut of_proto);
    [json.map(|()| of_json.finish()), proto.map(|()| of_proto.finish())]
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

#[test]
fn only_blocks_that_are_asked_for_are_kept() {
    let mut index = with_compacted();
    let mut other = index.live[0].as_ref().clone();
    other.tenant_id = "other".to_owned();
    index.live.push(Arc::new(other));
    let (json, proto) = (index.to_json_gz(), index.to_proto_zst());
    let is_other = |meta: &BlockMeta| meta.tenant_id == "other";
    for read in [
        TenantIndex::from_json_gz_where(&json, is_other),
        TenantIndex::from_proto_zst_where(&proto, is_other),
    ] {
        let (read, left_out) = read.unwrap();
        assert_eq!((read.live.len(), read.compacted.len(), left_out), (1, 0, 2));
        assert_eq!((read.created_at, &read.live[0]), (index.created_at, &index.live[1]));
    }
}

#[test]
fn index_over_a_bound_is_corrupt() {
    let mut index = with_compacted();
    index.live = vec![Arc::clone(&index.live[0]); 100];
    for read in within(&index, Bounds { blocks: 101, ..Bounds::USUAL }) {
        assert_eq!(read.unwrap(), (index.clone(), 0));
    }
    let plain = gunzip(&index.to_json_gz()).len() as u64;
    for bounds in [
        Bounds { blocks: 100, ..Bounds::USUAL },
        Bounds { decoded_bytes: plain / 10, ..Bounds::USUAL },
        Bounds { entry_bytes: 50, ..Bounds::USUAL },
    ] {
        for read in within(&index, bounds) {
            assert!(read.unwrap_err().is_corrupt(), "{bounds:?}");
        }
    }
}

#[test]
fn protobuf_of_later_releases_is_read_and_damage_is_not() {
    let index = with_compacted();
    let plain = zstd::decode_all(&*index.to_proto_zst()).unwrap();
    let read = |appended: &[u8]| {
        let bytes = [&plain, appended].concat();
        TenantIndex::from_proto_zst(&zstd::encode_all(&*bytes, 0).unwrap())
    };
    // Fields 4, 5, 6 and 7, in each form.
    for unknown in [
        &[0x20, 0xff, 0x01][..],
        &[0x29, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0x32, 2, 7, 7],
        &[0x3d, 1, 2, 3, 4],
    ] {
        assert_eq!(read(unknown).unwrap(), index, "{unknown:?}");
        assert!(read(&unknown[..unknown.len() - 1]).unwrap_err().is_corrupt(), "{unknown:?}");
    }
    for damage in [
        &[0x10, 1][..],
        &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
        &[0x12, 3, 1],
        &[0x12, 1, 0xff],
        &[0x23],
        &[0x00, 0],
        &[0x80],
    ] {
        assert!(read(damage).unwrap_err().is_corrupt(), "{damage:?}");
    }
}
