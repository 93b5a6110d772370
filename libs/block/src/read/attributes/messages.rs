//! Values that are stored whole: as an AnyValue message, or as its protobuf JSON.

use tactus_model::ValueType;
use tactus_model::any_value::{DecodedValue, classify, decode};
use tactus_model::wire::put_message_field;

use crate::decoding::DecodeResult;
use crate::read::json_value;
use crate::read::strings::StringPool;

/// Type and payload of an AnyValue message.
///
/// Bytes that are not such a message become a bytes value, which may look odd but is not lost.
pub(crate) fn from_message(
    message: &[u8],
    pool: &mut StringPool,
) -> DecodeResult<(ValueType, u64)> {
    let decoded = decode(message).and_then(|value| Ok((value, classify(value)?)));
    let Ok((value, value_type)) = decoded else {
        let mut kept = Vec::with_capacity(message.len() + 6);
        put_message_field(&mut kept, 7, message);
        return Ok((ValueType::Other, u64::from(pool.intern(&kept)?)));
    };
    let payload = match value {
        DecodedValue::String(bytes) => u64::from(pool.intern(bytes)?),
        DecodedValue::Int(number) => number as u64,
        DecodedValue::Double(number) => number.to_bits(),
        DecodedValue::Bool(flag) => u64::from(flag),
        DecodedValue::Unset => 0,
        _ => u64::from(pool.intern(message)?),
    };
    Ok((value_type, payload))
}

/// Type and payload of protobuf JSON. Text that is not JSON becomes a string.
pub(super) fn from_json(text: &[u8], pool: &mut StringPool) -> DecodeResult<(ValueType, u64)> {
    match json_value::parse(text) {
        Some((_, message)) => from_message(&message, pool),
        None => Ok((ValueType::String, u64::from(pool.intern(text)?))),
    }
}

/// Type and payload of a value in either form. JSON objects start with a brace, which no message does: that byte would
/// begin a group, which is obsolete.
pub(crate) fn from_either(stored: &[u8], pool: &mut StringPool) -> DecodeResult<(ValueType, u64)> {
    match stored.first() {
        Some(b'{') => from_json(stored, pool),
        _ => from_message(stored, pool),
    }
}
