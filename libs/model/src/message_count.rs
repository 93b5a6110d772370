//! Counts the messages inside an OTLP message before it is decoded. An empty nested message takes two bytes on the wire
//! but hundreds in memory, so a small request with many of them could take gigabytes when it is decoded.

use crate::wire::{FieldValue, MAX_DEPTH, Reader, WireError};

/// Which fields of a message hold nested messages: field numbers, each with the shape of the nested message.
#[derive(Debug)]
pub struct Shape(pub &'static [(u32, &'static Shape)]);

/// The number of messages in a message, itself and all levels included. Errors: it is not protobuf, or is nested too
/// deeply.
pub fn messages(message: &[u8], shape: &Shape) -> Result<usize, WireError> {
    count(message, shape, MAX_LEVELS)
}

/// A list inside a list adds at most three levels. The others lead down to an attribute of an event.
const MAX_LEVELS: usize = 8 + 3 * MAX_DEPTH;

fn count(message: &[u8], Shape(holds): &Shape, levels: usize) -> Result<usize, WireError> {
    let mut total = 1;
    if holds.is_empty() {
        return Ok(total);
    }
    let levels = levels.checked_sub(1).ok_or(WireError::Depth)?;
    let mut fields = Reader::new(message);
    while let Some((number, value)) = fields.next_field()? {
        let FieldValue::Bytes(inner) = value else { continue };
        if let Some((_, shape)) = holds.iter().find(|(held, _)| *held == number) {
            total += count(inner, shape, levels)?;
        }
    }
    Ok(total)
}

static VALUE: Shape = Shape(&[(5, &LIST), (6, &PAIRS)]);
static LIST: Shape = Shape(&[(1, &VALUE)]);
static PAIRS: Shape = Shape(&[(1, &PAIR)]);
static PAIR: Shape = Shape(&[(2, &VALUE)]);
/// A Resource of OTLP.
pub static RESOURCE: Shape = Shape(&[(1, &PAIR), (3, &ENTITY)]);
/// Its lists of keys take as much memory as lists of messages.
static ENTITY: Shape = Shape(&[(3, &ENTITY_KEY), (4, &ENTITY_KEY)]);
static ENTITY_KEY: Shape = Shape(&[]);
/// An InstrumentationScope of OTLP.
pub static SCOPE: Shape = Shape(&[(3, &PAIR)]);
static EVENT: Shape = Shape(&[(3, &PAIR)]);
static LINK: Shape = Shape(&[(4, &PAIR)]);
/// A Span of OTLP.
pub static SPAN: Shape = Shape(&[(9, &PAIR), (11, &EVENT), (13, &LINK)]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::put_message_field;

    fn within(field: u32, message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_message_field(&mut out, field, message);
        out
    }

    #[test]
    fn messages_of_almost_nothing_are_counted() {
        let ids = [&[0x0a, 16][..], &[7; 16], &[0x12, 8], &[7; 8]].concat();
        assert_eq!(messages(&ids, &SPAN), Ok(1));
        for field in [9, 11, 13] {
            let span = [ids.clone(), within(field, &[]).repeat(1_000)].concat();
            assert_eq!(messages(&span, &SPAN), Ok(1_001), "{field}");
        }
        let list = within(5, &within(1, &[]).repeat(1_000));
        let values = [ids, within(9, &within(2, &list))].concat();
        assert_eq!(messages(&values, &SPAN), Ok(1_004));
    }

    #[test]
    fn values_are_followed_as_deep_as_they_may_be() {
        let nested = |levels: usize| {
            let list = |value: Vec<u8>, _| within(6, &within(1, &within(2, &value)));
            let value = (0..levels).fold(Vec::new(), list);
            within(9, &within(2, &value))
        };
        assert!(messages(&nested(MAX_DEPTH - 1), &SPAN).is_ok());
        assert_eq!(messages(&nested(100_000), &SPAN), Err(WireError::Depth));
        assert_eq!(messages(&[0x4a, 0x7f], &SPAN), Err(WireError::Truncated));
    }
}
