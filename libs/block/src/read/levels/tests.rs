use super::*;

const LEAF: Leaf = Leaf { index: 0, max_rep: 3, max_def: 3 };

fn frame(content: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(content, 1).unwrap()
}

/// Four bytes of length, then runs.
fn levels(runs: &[u8]) -> Vec<u8> {
    [&(runs.len() as u32).to_le_bytes(), runs].concat()
}

/// Two rows of two spans; all defined.
fn shared() -> (Vec<u8>, usize) {
    let (rep, def) = (levels(&[2, 0, 2, 3, 2, 0, 2, 3]), levels(&[8, 3]));
    ([frame(&rep), frame(&def)].concat(), rep.len() + def.len())
}

fn read(
    known: &mut KnownLevels,
    leaf: Leaf,
    page: Vec<u8>,
    size: usize,
) -> DecodeResult<(Vec<u8>, usize, Vec<u8>)> {
    let mut decompressor = Decompressor::default();
    let wanted = Wanted { entries: 4, rep: true, values: true };
    let found = known.read(leaf, Codec::Zstd, &page, size, wanted, &mut decompressor)?;
    let rep = (0..4).map(|entry| found.rep.at(entry)).collect();
    Ok((rep, found.values, found.body.to_vec()))
}

#[test]
fn levels_in_frames_of_their_own_are_decoded_once() {
    let mut known = KnownLevels::default();
    let (frames, size) = shared();
    for own in [b"12345678".as_slice(), b"another column", &[7; 1000]] {
        let page = [frames.as_slice(), &frame(own)].concat();
        let found = read(&mut known, LEAF, page, size + own.len()).unwrap();
        assert_eq!(found, (vec![0, 3, 0, 3], 4, own.to_vec()));
    }
    assert_eq!(known.known.len(), 1);

    // An optional column: repetition levels are shared, definition levels are its own.
    let rep = levels(&[2, 0, 2, 3, 2, 0, 2, 3]);
    let own = [levels(&[4, 4, 4, 3]), b"ab".to_vec()].concat();
    let page = [frame(&rep), frame(&own)].concat();
    let leaf = Leaf { max_def: 4, ..LEAF };
    let found = read(&mut known, leaf, page, rep.len() + own.len()).unwrap();
    assert_eq!(found, (vec![0, 3, 0, 3], 2, b"ab".to_vec()));
}

#[test]
fn levels_that_reach_into_the_last_frame_are_read() {
    let (frames, size) = shared();
    let all = zstd::stream::decode_all(&frames[..]).unwrap();
    for cut in [1, 5, size - 3] {
        let page = [frame(&all[..cut]), frame(&[&all[cut..], b"xy"].concat())].concat();
        let found = read(&mut KnownLevels::default(), LEAF, page, size + 2).unwrap();
        assert_eq!(found, (vec![0, 3, 0, 3], 4, b"xy".to_vec()));
    }
}

#[test]
fn frames_larger_than_their_page_are_not_decompressed() {
    let bomb = frame(&vec![0; 64 << 20]);
    assert!(bomb.len() < 10_000, "{}", bomb.len());
    let page = [bomb.as_slice(), &frame(b"1234")].concat();
    let mut decompressor = Decompressor::default();
    let wanted = Wanted { entries: 4, rep: true, values: true };
    let read = KnownLevels::default()
        .read(LEAF, Codec::Zstd, &page, 1000, wanted, &mut decompressor)
        .map(drop);
    assert_eq!(read, Err(WRONG_SIZE));
    assert!(decompressor.buffer_bytes() < 1 << 20);
}

#[test]
fn pages_of_another_size_than_declared_are_refused() {
    let (frames, size) = shared();
    let page = [frames.as_slice(), &frame(b"1234")].concat();
    for wrong in [size + 3, size + 5, 0, usize::MAX] {
        let mut known = KnownLevels::default();
        assert!(read(&mut known, LEAF, page.clone(), wrong).is_err());
    }
}

#[test]
fn pages_of_which_all_is_defined_are_read_without_their_repetition() {
    let wanted = Wanted { entries: 4, rep: false, values: true };
    let read = |known: &mut KnownLevels, page: &[u8], size| {
        let mut decompressor = Decompressor::default();
        let found = known.read(LEAF, Codec::Zstd, page, size, wanted, &mut decompressor)?;
        let is_unread = found.rep == Levels::Constant(0);
        Ok::<_, DecodeError>((is_unread, found.def.at(3), found.values, found.body.to_vec()))
    };
    let (frames, size) = shared();
    for own in [b"12345678".as_slice(), &[7; 1000]] {
        let mut known = KnownLevels::default();
        let page = [frames.as_slice(), &frame(own)].concat();
        let found = read(&mut known, &page, size + own.len());
        assert_eq!(found, Ok((true, 3, 4, own.to_vec())));
        assert!(known.known.is_empty(), "nothing was decompressed");
        assert!(read(&mut known, &page, size + own.len() + 1).is_err());
    }
    // Not all is defined, or it is for fewer entries.
    let rep = levels(&[2, 0, 2, 3, 2, 0, 2, 3]);
    for (runs, values) in [(&[6u8, 3, 2, 2][..], 3), (&[8, 2], 0), (&[4, 3, 4, 3], 4)] {
        let mut known = KnownLevels::default();
        let def = levels(runs);
        let page = [frame(&rep), frame(&def), frame(b"1234")].concat();
        let found = read(&mut known, &page, rep.len() + def.len() + 4).unwrap();
        assert_eq!((found.2, known.known.len()), (values, 1), "{runs:?}");
    }
}

#[test]
fn repetition_of_a_column_that_is_all_there_serves_others() {
    let rep = levels(&[2, 0, 2, 4, 2, 0, 2, 4]);
    let (keys, values) = (levels(&[8, 4]), [levels(&[4, 5, 4, 4]), b"ab".to_vec()].concat());
    let key_page = [frame(&rep), frame(&keys), frame(b"1234")].concat();
    let value_page = [frame(&rep), frame(&values)].concat();
    let (key, value) =
        (Leaf { max_rep: 4, max_def: 4, ..LEAF }, Leaf { max_rep: 5, max_def: 5, ..LEAF });
    let size = rep.len() + values.len();
    let mut known = KnownLevels::default();
    read(&mut known, key, key_page, rep.len() + keys.len() + 4).unwrap();
    let found = read(&mut known, value, value_page.clone(), size).unwrap();
    assert_eq!(found, (vec![0, 4, 0, 4], 2, b"ab".to_vec()));
    assert!(known.known[1].content.is_empty(), "nothing was decompressed again");
    assert!(read(&mut known, value, value_page.clone(), size + 1).is_err());

    // Levels of two bits are other levels, and some are above a maximum.
    let narrow = Leaf { max_rep: 3, ..value };
    let mut alone = KnownLevels::default();
    let expected = read(&mut alone, narrow, value_page.clone(), size);
    assert!(expected.is_err());
    assert_eq!(read(&mut known, narrow, value_page, size), expected);
}
