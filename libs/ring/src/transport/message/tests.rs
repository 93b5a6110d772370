use super::*;

const OWN: Own<'_> =
    Own { id: b"\x01\x00b\x07\0\0\0\0\0\0\0\x04\x0a\0\0\x01\x01\x02", version: 40 };

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[0x53, 0xb0, 0, kind], body].concat()
}

/// A delta of blocks of 60 000 zeros each, and its end.
fn bomb(blocks: usize) -> Vec<u8> {
    let block = zstd::bulk::compress(&[0; 60_000], 3).unwrap();
    let block = [&[COMPRESSED][..], &(block.len() as u16).to_le_bytes(), &block].concat();
    [block.repeat(blocks), vec![NO_MORE]].concat()
}

/// Of one member at an address of IPv4 and one of IPv6.
fn digest() -> Vec<u8> {
    let mut digest = vec![2, 0];
    for (version, address) in [(4, 4), (6, 16)] {
        digest.extend([1, 0, b'a' + version]);
        digest.extend([0; 8]);
        digest.push(version);
        digest.extend(vec![0; address + 2 + NODE_DIGEST_BYTES]);
    }
    digest
}

fn limited(bytes: &[u8]) -> Option<Content> {
    content(bytes, 4 << 20, OWN)
}

/// The step of a delta that begins a member: what follows has versions behind `from`.
fn member(id: &[u8], collected: u64, from: u64) -> Vec<u8> {
    [&[MEMBER][..], id, &collected.to_le_bytes(), &from.to_le_bytes()].concat()
}

fn value(text: &str, version: u64) -> Vec<u8> {
    let text = [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat();
    [&[VALUE][..], &text, &text, &version.to_le_bytes(), &[0]].concat()
}

fn latest(version: u64) -> Vec<u8> {
    [&[LATEST][..], &version.to_le_bytes()].concat()
}

/// A message with these steps in a block that is not compressed.
fn delta(steps: &[Vec<u8>]) -> Vec<u8> {
    let steps = steps.concat();
    message(ACK, &[&[2][..], &(steps.len() as u16).to_le_bytes(), &steps, &[NO_MORE]].concat())
}

#[test]
fn delta_that_decompresses_to_too_much_is_refused() {
    for (kind, start) in [(ACK, Vec::new()), (SYN_ACK, digest())] {
        let bytes = message(kind, &[start.clone(), bomb(1000)].concat());
        assert!(bytes.len() < 50_000, "{}", bytes.len());
        assert_eq!(delta_bytes(&bytes[4 + start.len()..]), Some(60_000_000));
        assert!(decode(&bytes, 1 << 20, OWN).is_none());
        let small = message(kind, &[start, vec![NO_MORE]].concat());
        let (_, content) = decode(&small, 1 << 20, OWN).unwrap();
        assert_eq!(content.delta_bytes, 0);
        assert_eq!(content.members.len(), if kind == ACK { 0 } else { 2 });
    }
}

#[test]
fn block_that_does_not_say_its_size_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    std::io::Write::write_all(&mut encoder, &[0; 9]).unwrap();
    let block = encoder.finish().unwrap();
    let length = (block.len() as u16).to_le_bytes();
    let body = [&[COMPRESSED][..], &length, &block, &[NO_MORE]].concat();
    assert_eq!(delta_bytes(&body), None);
}

#[test]
fn block_of_several_frames_is_refused() {
    let frames =
        [zstd::bulk::compress(b"a", 1).unwrap(), zstd::bulk::compress(&[0; 9], 1).unwrap()]
            .concat();
    let length = (frames.len() as u16).to_le_bytes();
    let body = [&[COMPRESSED][..], &length, &frames, &[NO_MORE]].concat();
    assert_eq!(delta_bytes(&body), None);
}

#[test]
fn messages_without_a_delta_and_those_cut_off_are_told() {
    let none = decode(&message(3, &[]), 1, OWN);
    assert!(matches!(none, Some((ChitchatMessage::BadCluster, _))));
    let syn = message(SYN, &[digest(), vec![1, 0, b'c']].concat());
    let (_, content) = decode(&syn, 1 << 20, OWN).unwrap();
    assert_eq!(content.members[0][..3], [1, 0, b'e']);
    let steps = [member(b"\x01\x00a\0\0\0\0\0\0\0\0\x04\x01\x02\x03\x04\x05\x06", 0, 0), latest(3)];
    let whole = delta(&steps);
    for length in 4..whole.len() {
        assert_eq!(limited(&whole[..length]), None, "{length}");
    }
    assert!(limited(&whole).is_some());
    // A member whose address is of neither kind.
    let odd = message(SYN_ACK, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
    assert_eq!(limited(&odd), None);
}

#[test]
fn versions_that_no_member_has_are_refused() {
    let other = [&OWN.id[..2], b"c", &OWN.id[3..]].concat();
    let takes = |steps: &[Vec<u8>]| decode(&delta(steps), 1 << 20, OWN).is_some();
    assert!(takes(&[member(&other, 3, 5), value("k", 6), value("l", 9), latest(9)]));
    assert!(takes(&[member(OWN.id, 3, 5), value("k", 41), latest(42)]), "it may have come back");
    for steps in [
        // chitchat asserts that the latest version is not below that of a value.
        vec![member(&other, 0, 0), value("k", 100), latest(5)],
        vec![member(&other, 0, 0), value("k", 100), value("l", 99)],
        // It counts on from these.
        vec![member(&other, 0, 0), latest(u64::MAX)],
        vec![member(&other, 0, 0), value("k", MAX_VERSION + 1)],
        vec![member(&other, u64::MAX, 0)],
        vec![member(OWN.id, 0, 0), latest(5_000)],
        vec![member(OWN.id, 0, 0), value("k", 5_000)],
        vec![vec![9]],
    ] {
        assert!(!takes(&steps), "{steps:?}");
    }
    let digest = |version: u64| {
        let numbers = [1, 0, version].map(u64::to_le_bytes).concat();
        message(SYN, &[&[1_u8, 0][..], &other, &numbers, &[1, 0, b'c']].concat())
    };
    assert!(limited(&digest(7)).is_some());
    assert_eq!(limited(&digest(u64::MAX)), None);
}

#[test]
fn members_are_left_out_of_a_digest_and_the_rest_stays() {
    let whole = digest();
    // The second of the two begins behind the address of the first.
    let second = 2 + 11 + 1 + 4 + 2 + NODE_DIGEST_BYTES;
    let first = [&[1, 0][..], &whole[2..second]].concat();
    for (kind, end) in [(SYN, vec![1, 0, b'c']), (SYN_ACK, vec![NO_MORE])] {
        let bytes = message(kind, &[&whole[..], &end].concat());
        let (read, content) = decode(&bytes, 1 << 20, OWN).unwrap();
        assert_eq!(without(&bytes, &HashSet::new()), Some(read));
        let left_out = HashSet::from([content.members[1].clone()]);
        let expected = message(kind, &[&first[..], &end].concat());
        let (expected, content) = decode(&expected, 1 << 20, OWN).unwrap();
        assert_eq!(content.members.len(), 1);
        assert_eq!(without(&bytes, &left_out), Some(expected));
    }
}
