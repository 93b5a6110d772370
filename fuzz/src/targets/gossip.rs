//! What comes in on the gossip port.

use futures_util::FutureExt;
use tactus_ring::fuzzing;

/// The first byte: a greeting, a message, or a value of a member's news.
pub(crate) fn feed(input: &[u8]) {
    let Some((&choice, bytes)) = input.split_first() else { return };
    match choice % 3 {
        0 => {
            fuzzing::greeting(bytes).now_or_never().expect("a slice is always ready");
        }
        1 => {
            let _ = fuzzing::message(bytes);
        }
        _ => {
            let text = String::from_utf8_lossy(bytes);
            let (key, value) = text.split_once('\n').unwrap_or((&text, ""));
            fuzzing::news(key, value);
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let greeting = |version: u8| {
        [&b"\x00TACTUSg"[..], &[version, 0, 5], b"label\x0d10.0.0.7:7946", &[7; 32]].concat()
    };
    let claim = r#"{"ring":"r","id":"a","incarnation":7,"address":"h:1","state":"LEAVING","tokens":{"seed":{"seed":18446744073709551615,"count":4}},"registered":5}"#;
    let listed =
        claim.replace(r#"{"seed":{"seed":18446744073709551615,"count":4}}"#, r#"{"listed":[5,3]}"#);
    let member = r#"{"targets":["ingester"],"http":"h:1","grpc":"h:2","zone":"z","version":"1"}"#;
    let tombstone = r#"{"ring":"r","id":"a","incarnation":7}"#;
    let news = [
        ("claim/r/a", claim),
        ("claim/r/b", &listed),
        ("member", member),
        ("forget/r/a", tombstone),
    ];
    // A digest of one member, and a delta of one value of it, in a compressed block and in a plain one.
    let id = [&[1, 0, b'a'][..], &[1, 0, 0, 0, 0, 0, 0, 0, 4, 10, 0, 0, 7, 10, 31]].concat();
    let digest = [&[1, 0][..], &id, &[1; 24]].concat();
    let node = [&[0][..], &id, &[0; 16]].concat();
    let operations =
        [&node[..], b"\x01\x06\x00member\x02\x00{}", &[1, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    let packed = zstd::bulk::compress(&operations, 1).expect("memory takes all bytes");
    let block = |kind: u8, content: &[u8]| {
        [&[kind][..], &(content.len() as u16).to_le_bytes(), content, &[0]].concat()
    };
    let message =
        |kind: u8, parts: &[&[u8]]| [&[1, 0x53, 0xb0, 0, kind][..], &parts.concat()].concat();
    let messages = [
        message(0, &[&digest, &[5, 0], b"label"]),
        message(1, &[&digest, &block(1, &packed)]),
        message(2, &[&block(2, &operations)]),
        message(3, &[]),
    ];
    let mut seeds = vec![greeting(1), greeting(2), b"\x00TACTUSg\x01\x00".to_vec()];
    seeds.extend(news.iter().map(|(key, value)| format!("\u{2}{key}\n{value}").into_bytes()));
    seeds.extend(messages);
    seeds
}
