//! The memory that an index takes which was made to take much. A program of its own: what is measured is the whole process.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "helpers of a test fail it by panicking")]

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tactus_storage::tenant_index::TenantIndex;
use tactus_storage::{BlockMeta, Error};

const MIB: u64 = 1 << 20;

/// Bytes of physical memory that this process had at most since the last call, beyond those that it has now.
fn grown(work: impl FnOnce()) -> u64 {
    let field = |name: &str| {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    };
    // From here on the peak is counted anew.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = field("VmRSS");
    work();
    field("VmHWM").saturating_sub(before)
}

/// `start`, then `piece` until there are so many bytes, then `end`; compressed.
fn repeated(mut sink: impl Write, start: &[u8], piece: &[u8], bytes: u64, end: &[u8]) {
    let pieces = piece.repeat(64 * 1024 / piece.len());
    sink.write_all(start).unwrap();
    for _ in 0..bytes / pieces.len() as u64 {
        sink.write_all(&pieces).unwrap();
    }
    sink.write_all(end).unwrap();
}

fn json(start: &str, piece: &str, bytes: u64, end: &str) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    repeated(&mut gzip, start.as_bytes(), piece.as_bytes(), bytes, end.as_bytes());
    gzip.finish().unwrap()
}

fn proto(piece: &[u8], bytes: u64) -> Vec<u8> {
    let mut zstd = zstd::Encoder::new(Vec::new(), 1).unwrap();
    repeated(&mut zstd, b"", piece, bytes, b"");
    zstd.finish().unwrap()
}

#[test]
fn index_that_is_made_to_take_memory_takes_little() {
    let is_own = |meta: &BlockMeta| meta.tenant_id == "own";
    let bytes = 12 * MIB;
    // Very many blocks of others, in as few bytes as can be.
    let others = json("{\"meta\":[", "{},", bytes, "{}],\"compacted\":null}");
    let took = grown(|| {
        let (index, left_out) = TenantIndex::from_json_gz_where(&others, is_own).unwrap();
        assert!(index.live.is_empty() && left_out > 4_000_000, "{left_out}");
    });
    assert!(took < 4 * MIB, "{took}");
    let others = proto(&[0x12, 0], bytes);
    let took = grown(|| {
        let (index, left_out) = TenantIndex::from_proto_zst_where(&others, is_own).unwrap();
        assert!(index.live.is_empty() && left_out > 6_000_000, "{left_out}");
    });
    assert!(took < 4 * MIB, "{took}");
    // One value that does not end, where it is kept: the bound of one block, and what it takes to grow up to that.
    for start in ["{\"meta\":[{\"tenantID\":\"", "{\"", "{\"created_at\":\""] {
        let endless = json(start, "aaaaaaaaaaaaaaaa", 20 * MIB, "");
        let took = grown(|| {
            let error = TenantIndex::from_json_gz_where(&endless, is_own).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        });
        assert!(took < 60 * MIB, "{start}: {took}");
    }
    // Nothing but blanks.
    let blanks = json("{", "                ", 20 * MIB, "}");
    let took = grown(|| drop(TenantIndex::from_json_gz_where(&blanks, is_own).unwrap_err()));
    assert!(took < 4 * MIB, "{took}");
    // A block that announces more than there is.
    let announced = proto(&[0x12, 0xff, 0xff, 0xff, 0x07], 64 << 10);
    let took = grown(|| drop(TenantIndex::from_proto_zst_where(&announced, is_own).unwrap_err()));
    assert!(took < 4 * MIB, "{took}");
}
