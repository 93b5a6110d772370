use super::*;
use crate::testing::{bytes, zipkin_spans};

fn skip(protocol: Protocol, kind: Kind, hex: &str) -> Result<usize, ThriftError> {
    let mut reader = Reader::new(protocol, bytes(hex));
    reader.skip(kind)?;
    Ok(reader.rest.len())
}

#[test]
fn compact_values_of_every_type_are_skipped() {
    for (kind, hex) in [
        (Kind::Bool, "01"),
        (Kind::Byte, "07"),
        (Kind::Double, "0000000000000040"),
        (Kind::I16, "ffff03"),
        (Kind::I32, "ffffffff0f"),
        (Kind::I64, "ffffffffffffffffff01"),
        (Kind::Binary, "0161"),
        // A true field, a false one, one of i32 with a long id, the end.
        (Kind::Struct, "111205c8010200"),
        (Kind::Map, "018801610162"),
        (Kind::Map, "00"),
        (Kind::List, "250204"),
        (Kind::List, "f10101"),
        (Kind::Set, "0c"),
    ] {
        assert_eq!(skip(Protocol::Compact, kind, hex), Ok(0), "{kind:?} {hex}");
    }
}

#[test]
fn integers_are_read_with_their_signs() {
    let mut reader = Reader::new(Protocol::Compact, bytes("01ffffffffffffffffff01ffff03"));
    assert_eq!(reader.i32(), Ok(-1));
    assert_eq!(reader.i64(), Ok(i64::MIN));
    assert_eq!(reader.i16(), Ok(i16::MIN));
    let mut reader = Reader::new(Protocol::Binary, bytes("fffffffffffe"));
    assert_eq!((reader.i32(), reader.i16()), (Ok(-1), Ok(-2)));
}

#[test]
fn floats_have_the_byte_order_of_their_protocol() {
    let read = |protocol, hex| Reader::new(protocol, bytes(hex)).double();
    assert_eq!(read(Protocol::Binary, "4000000000000000"), Ok(2.0));
    assert_eq!(read(Protocol::Compact, "0000000000000040"), Ok(2.0));
}

#[test]
fn integer_beyond_its_type_is_an_error() {
    let read = |hex| Reader::new(Protocol::Compact, bytes(hex));
    assert_eq!(read("ffffffffff0f").i32(), Err(ThriftError::Overflow));
    assert_eq!(read("ffffffffffffffffff03").i64(), Err(ThriftError::Overflow));
    assert_eq!(read("ffffffffffffffffffff01").i64(), Err(ThriftError::Overflow));
    assert_eq!(read("80808080").i64(), Err(ThriftError::Truncated));
}

#[test]
fn declared_lengths_are_checked_before_anything_is_allocated() {
    let length = |length, remaining| Err(ThriftError::Length { length, remaining });
    let count = |count, remaining| Err(ThriftError::Count { count, remaining });
    assert_eq!(skip(Protocol::Binary, Kind::Binary, "7fffffff61"), length(0x7fff_ffff, 1));
    assert_eq!(skip(Protocol::Compact, Kind::Binary, "ffffffff0761"), length(0x7fff_ffff, 1));
    assert_eq!(skip(Protocol::Binary, Kind::List, "0c7fffffff00"), count(0x7fff_ffff, 1));
    // Four bytes an element at least.
    assert_eq!(skip(Protocol::Binary, Kind::List, "080000000200000000"), count(2, 4));
    assert_eq!(skip(Protocol::Compact, Kind::List, "fcffffffff0700"), count(0x7fff_ffff, 1));
    assert_eq!(skip(Protocol::Binary, Kind::Map, "0b0b7fffffff00"), count(0x7fff_ffff, 1));
    assert_eq!(
        skip(Protocol::Binary, Kind::List, "0bffffffff"),
        Err(ThriftError::NegativeLength(-1))
    );
}

#[test]
fn nesting_is_bounded() {
    // Structs in structs, lists in lists.
    for (protocol, kind, level) in [
        (Protocol::Binary, Kind::Struct, "0c0001"),
        (Protocol::Compact, Kind::Struct, "1c"),
        (Protocol::Compact, Kind::List, "19"),
        (Protocol::Binary, Kind::List, "0f00000001"),
    ] {
        let deep = level.repeat(100_000);
        assert_eq!(skip(protocol, kind, &deep), Err(ThriftError::TooDeep), "{protocol:?} {kind:?}");
    }
}

#[test]
fn list_of_structs_without_fields_is_refused() {
    // A thousand spans of one byte each would be a thousand times as large in memory.
    let body = format!("0c000003e8{}", "00".repeat(1_000));
    let read = |reader: &mut Reader| reader.skip(Kind::Struct);
    let mut reader = Reader::new(Protocol::Binary, bytes(&body));
    assert_eq!(reader.list(Kind::Struct, read), Err(ThriftError::EmptyElement));
    assert!(zipkin_spans(bytes(&body)).is_err());
}

#[test]
fn list_of_another_type_is_refused_unless_it_is_empty() {
    let list = |hex| Reader::new(Protocol::Binary, bytes(hex)).list(Kind::I32, Reader::i32);
    assert_eq!(list("0c00000000"), Ok(vec![]));
    assert_eq!(list("0000000000"), Ok(vec![]));
    let wrong = ThriftError::WrongElement { expected: Kind::I32, found: Kind::Bool };
    assert_eq!(list("020000000101"), Err(wrong));
}
