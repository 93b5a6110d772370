//! Messages of almost nothing: one without a field takes two bytes on the wire and hundreds in memory, so that a small
//! request of many could cost gigabytes where it is decoded into messages.

use crate::wire::{FieldValue, MAX_DEPTH, Reader, WireError};

/// A message: the fewest bytes that one of any use takes, what it holds left aside, and which fields
/// hold further messages.
#[derive(Debug)]
pub struct Shape {
    /// Its own bytes, key and length included.
    pub least_bytes: usize,
    /// Numbers of fields, and what they hold.
    pub holds: &'static [(u32, &'static Shape)],
}

/// Whether a message has more messages in it than its bytes can fill. Errors: it is none, or nested too deeply.
pub fn is_hollow(message: &[u8], shape: &Shape) -> Result<bool, WireError> {
    Ok(sum(message, shape, MAX_LEVELS, |shape| shape.least_bytes)? > message.len())
}

/// How many messages a message holds, those within one another included. Errors: as of [`is_hollow`].
pub fn messages(message: &[u8], shape: &Shape) -> Result<usize, WireError> {
    sum(message, shape, MAX_LEVELS, |_| 1)
}

/// A list within a list is three levels at most; some more lead down to an attribute of an event.
const MAX_LEVELS: usize = 8 + 3 * MAX_DEPTH;

fn sum(
    message: &[u8],
    shape: &Shape,
    levels: usize,
    of: fn(&Shape) -> usize,
) -> Result<usize, WireError> {
    let mut total = of(shape);
    if shape.holds.is_empty() {
        return Ok(total);
    }
    let levels = levels.checked_sub(1).ok_or(WireError::Depth)?;
    let mut fields = Reader::new(message);
    while let Some((number, value)) = fields.next_field()? {
        let FieldValue::Bytes(inner) = value else { continue };
        if let Some((_, shape)) = shape.holds.iter().find(|(held, _)| *held == number) {
            total += sum(inner, shape, levels, of)?;
        }
    }
    Ok(total)
}

static VALUE: Shape = Shape { least_bytes: 2, holds: &[(5, &LIST), (6, &PAIRS)] };
static LIST: Shape = Shape { least_bytes: 0, holds: &[(1, &VALUE)] };
static PAIRS: Shape = Shape { least_bytes: 0, holds: &[(1, &PAIR)] };
/// Key, head and length.
static PAIR: Shape = Shape { least_bytes: 4, holds: &[(2, &VALUE)] };
/// A Resource of OTLP.
pub static RESOURCE: Shape = Shape { least_bytes: 2, holds: &[(1, &PAIR), (3, &ENTITY)] };
static ENTITY: Shape = Shape { least_bytes: 4, holds: &[] };
/// An InstrumentationScope of OTLP.
pub static SCOPE: Shape = Shape { least_bytes: 2, holds: &[(3, &PAIR)] };
/// A time.
static EVENT: Shape = Shape { least_bytes: 9, holds: &[(3, &PAIR)] };
/// A span id.
static LINK: Shape = Shape { least_bytes: 10, holds: &[(4, &PAIR)] };
/// A Span of OTLP, with a trace id and a span id.
pub static SPAN: Shape = Shape { least_bytes: 20, holds: &[(9, &PAIR), (11, &EVENT), (13, &LINK)] };
static SCOPE_SPANS: Shape = Shape { least_bytes: 4, holds: &[(1, &SCOPE), (2, &SPAN)] };
static RESOURCE_SPANS: Shape =
    Shape { least_bytes: 4, holds: &[(1, &RESOURCE), (2, &SCOPE_SPANS), (1000, &SCOPE_SPANS)] };

/// An ExportTraceServiceRequest of OTLP.
pub static EXPORT_REQUEST: Shape = Shape { least_bytes: 0, holds: &[(1, &RESOURCE_SPANS)] };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::put_message_field;

    fn within(field: u32, message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_message_field(&mut out, field, message);
        out
    }

    fn request(span: &[u8]) -> Vec<u8> {
        within(1, &within(2, &within(2, span)))
    }

    #[test]
    fn request_of_messages_without_fields_is_hollow() {
        let ids = [&[0x0a, 16][..], &[7; 16], &[0x12, 8], &[7; 8]].concat();
        assert_eq!(is_hollow(&request(&ids), &EXPORT_REQUEST), Ok(false));
        for field in [9, 11, 13] {
            let empty = within(field, &[]);
            let span = [ids.clone(), empty.repeat(1_000)].concat();
            assert_eq!(is_hollow(&request(&span), &EXPORT_REQUEST), Ok(true), "{field}");
        }
        assert_eq!(is_hollow(&request(&[]).repeat(1_000), &EXPORT_REQUEST), Ok(true));
        let list = within(5, &within(1, &[]).repeat(1_000));
        let empty_values = [ids, within(9, &within(2, &list))].concat();
        assert_eq!(is_hollow(&request(&empty_values), &EXPORT_REQUEST), Ok(false));
    }

    #[test]
    fn values_are_followed_as_deep_as_they_may_be() {
        let nested = |levels: usize| {
            let list = |value: Vec<u8>, _| within(6, &within(1, &within(2, &value)));
            let value = (0..levels).fold(Vec::new(), list);
            request(&within(9, &within(2, &value)))
        };
        assert!(is_hollow(&nested(MAX_DEPTH - 1), &EXPORT_REQUEST).is_ok());
        assert_eq!(is_hollow(&nested(100_000), &EXPORT_REQUEST), Err(WireError::Depth));
        assert_eq!(is_hollow(&[0x0a, 0x7f], &EXPORT_REQUEST), Err(WireError::Truncated));
    }
}
