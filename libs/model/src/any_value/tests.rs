use proptest::{collection::vec, prelude::*};

use super::*;

fn array_of(elements: &[AnyValueRef<'_>]) -> Vec<u8> {
    encode_array(elements.iter().copied())
}

#[test]
fn arrays_are_classified_by_their_elements() {
    use AnyValueRef::*;
    let cases = [
        (vec![], ValueType::EmptyArray),
        (vec![String(b"a"), String(b"")], ValueType::StringArray),
        (vec![Int(1), Int(-2)], ValueType::IntArray),
        (vec![Int(1), Double(2.0)], ValueType::Other),
        (vec![Int(1), Double(2.0), Int(3)], ValueType::Other),
        (vec![Bool(true)], ValueType::BoolArray),
        (vec![Unset], ValueType::Other),
    ];
    for (elements, expected) in cases {
        let message = array_of(&elements);
        assert_eq!(decode(&message).and_then(classify), Ok(expected), "{elements:?}");
    }
}

#[test]
fn deep_nesting_is_refused_without_recursion_running_away() {
    let mut message = Vec::new();
    encode(&mut message, AnyValueRef::Int(1));
    for _ in 0..200 {
        message = encode_array(std::iter::once(AnyValueRef::Encoded(&message)));
    }
    assert_eq!(decode(&message).and_then(classify), Err(WireError::Depth));
}

fn key_value(key: &[u8], value: AnyValueRef<'_>) -> Vec<u8> {
    let (mut message, mut encoded) = (Vec::new(), Vec::new());
    encode(&mut encoded, value);
    put_message_field(&mut message, 1, key);
    put_message_field(&mut message, 2, &encoded);
    message
}

#[test]
fn plain_form_holds_texts_numbers_and_booleans() {
    use AnyValueRef::*;
    for value in
        [String(b""), String(b"a"), Int(0), Int(-1), Int(300), Double(0.5), Bool(false), Bool(true)]
    {
        let message = key_value(b"k", value);
        let (key, decoded) = decode_plain(&message).unwrap();
        assert_eq!((key, Ok(decoded)), (&b"k"[..], decode(decode_key_value(&message).unwrap().1)));
    }
    for value in [Unset, String(&[b'a'; 126]), Encoded(&array_of(&[Int(1)]))] {
        assert_eq!(decode_plain(&key_value(b"k", value)), None);
    }
}

fn messages() -> impl Strategy<Value = Vec<u8>> {
    let text = || vec(any::<u8>(), 0..4);
    let value = prop_oneof![
        text().prop_map(|text| [vec![0x0a, text.len() as u8], text].concat()),
        vec(any::<u8>(), 0..12).prop_map(|varint| [vec![0x18], varint].concat()),
        vec(0x80u8.., 0..10).prop_map(|varint| [vec![0x18], varint, vec![1]].concat()),
        any::<[u8; 8]>().prop_map(|double| [vec![0x21], double.to_vec()].concat()),
        (0..4u8).prop_map(|flag| vec![0x10, flag]),
        text(),
    ];
    let more = prop_oneof![4 => Just(Vec::new()), 1 => text()];
    (text(), value, more).prop_map(|(key, value, more)| {
        let mut message = Vec::new();
        put_message_field(&mut message, 1, &key);
        put_message_field(&mut message, 2, &value);
        [message, more].concat()
    })
}

proptest! {
    #[test]
    fn plain_form_reads_as_field_by_field_and_has_no_byte_too_many(message in messages()) {
        if let Some((key, value)) = decode_plain(&message) {
            let (same_key, encoded) = decode_key_value(&message).unwrap();
            prop_assert_eq!(key, same_key);
            let same = decode(encoded).unwrap();
            prop_assert_eq!(format!("{value:?}"), format!("{same:?}"));
            let value = match value {
                DecodedValue::String(text) => AnyValueRef::String(text),
                DecodedValue::Int(number) => AnyValueRef::Int(number),
                DecodedValue::Bool(flag) => AnyValueRef::Bool(flag),
                DecodedValue::Double(number) => AnyValueRef::Double(number),
                other => return Err(TestCaseError::fail(format!("{other:?} is not plain"))),
            };
            prop_assert_eq!(key_value(key, value), message);
        }
    }
}
