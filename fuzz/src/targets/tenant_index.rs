//! The list of a tenant's blocks, in both forms, as it is once decompressed: how much that may be is bounded where it is read.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use tactus_storage::BlockMeta;
use tactus_storage::tenant_index::TenantIndex;

/// What is understood is written, and read again as the same.
pub(crate) fn feed(input: &[u8]) {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(input).expect("memory takes it");
    let json = gzip.finish().expect("memory takes it");
    let proto = zstd::encode_all(input, 1).expect("memory takes it");
    let has_tenant = |meta: &BlockMeta| !meta.tenant_id.is_empty();
    for read in [
        TenantIndex::from_json_gz_where(&json, has_tenant),
        TenantIndex::from_proto_zst_where(&proto, has_tenant),
    ] {
        let Ok((index, _)) = read else { continue };
        assert!(index.live.iter().all(|meta| has_tenant(meta)));
        let again = TenantIndex::from_json_gz(&index.to_json_gz()).expect("our own JSON");
        assert_eq!(again.live.len(), index.live.len());
        let again = TenantIndex::from_proto_zst(&index.to_proto_zst()).expect("our own protobuf");
        assert_eq!(again.compacted.len(), index.compacted.len());
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let sample = |version: &str, name: &str| {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance/blocks");
        std::fs::read(format!("{root}/{version}/single-tenant/{name}")).expect("a sample")
    };
    let mut index =
        TenantIndex::from_json_gz(&sample("vParquet5", "index.json.gz")).expect("a sample");
    let meta = index.live[0].as_ref().clone();
    let compacted_time = index.created_at;
    let compacted = tactus_storage::CompactedBlockMeta { meta, compacted_time };
    index.compacted.push(std::sync::Arc::new(compacted));
    let mut json = Vec::new();
    let gzip = index.to_json_gz();
    std::io::copy(&mut flate2::read::GzDecoder::new(&*gzip), &mut json).expect("our own gzip");
    let proto = zstd::decode_all(&*index.to_proto_zst()).expect("our own zstd");
    vec![json, proto, br#"{"META":null,"compacted":[{}],"x":[{"y":[]}]}"#.to_vec()]
}
