//! Values without a column type, as protobuf JSON.

use base64::{Engine, engine::general_purpose::STANDARD};
use tactus_model::any_value::{self, DecodedValue};

/// Appends the protobuf JSON of an encoded AnyValue; `{}` if it is empty or malformed.
pub(super) fn put_any_value(out: &mut Vec<u8>, message: &[u8]) {
    put_decoded(out, any_value::decode(message).unwrap_or(DecodedValue::Unset));
}

// The batch builder has already limited how deeply values are nested.
fn put_decoded(out: &mut Vec<u8>, value: DecodedValue<'_>) {
    out.push(b'{');
    match value {
        DecodedValue::Unset => {}
        DecodedValue::String(text) => {
            put_name(out, "stringValue");
            put_string(out, text);
        }
        DecodedValue::Bool(flag) => {
            put_name(out, "boolValue");
            out.extend_from_slice(if flag { b"true" } else { b"false" });
        }
        DecodedValue::Int(number) => {
            put_name(out, "intValue");
            out.extend_from_slice(format!("\"{number}\"").as_bytes());
        }
        DecodedValue::Double(number) => {
            put_name(out, "doubleValue");
            put_double(out, number);
        }
        DecodedValue::Bytes(bytes) => {
            put_name(out, "bytesValue");
            out.extend_from_slice(format!("\"{}\"", STANDARD.encode(bytes)).as_bytes());
        }
        DecodedValue::Array(elements) => {
            put_name(out, "arrayValue");
            put_list(out, any_value::array_elements(elements).flatten(), put_decoded);
        }
        DecodedValue::KeyValues(pairs) => {
            put_name(out, "kvlistValue");
            put_list(out, any_value::key_values(pairs).flatten(), |out, (key, value)| {
                out.push(b'{');
                // Protobuf JSON leaves out a field that is empty.
                if !key.is_empty() {
                    put_name(out, "key");
                    put_string(out, key);
                    out.push(b',');
                }
                put_name(out, "value");
                put_decoded(out, value);
                out.push(b'}');
            });
        }
    }
    out.push(b'}');
}

fn put_list<T>(
    out: &mut Vec<u8>,
    items: impl Iterator<Item = T>,
    mut put: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'{');
    let mut is_first = true;
    for item in items {
        if is_first {
            put_name(out, "values");
        }
        out.push(if is_first { b'[' } else { b',' });
        is_first = false;
        put(out, item);
    }
    if !is_first {
        out.push(b']');
    }
    out.push(b'}');
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn put_double(out: &mut Vec<u8>, number: f64) {
    let magnitude = number.abs();
    let text = if number.is_nan() {
        "\"NaN\"".to_owned()
    } else if number.is_infinite() {
        (if number > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" }).to_owned()
    } else if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        format!("{number:e}")
    } else {
        number.to_string()
    };
    out.extend_from_slice(text.as_bytes());
}

fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, &*String::from_utf8_lossy(text));
}

#[cfg(test)]
mod tests;
