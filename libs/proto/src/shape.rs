//! What messages take once they are decoded, told by their bytes alone.
//!
//! An empty message in a list is two bytes on the wire and a whole struct in memory. Whoever counts a message by its length has to
//! refuse one that becomes many times as large, before it is decoded.

/// What is decoded of a message. Fields that take no more than their bytes are left out.
#[derive(Debug)]
pub(crate) struct Shape(pub(crate) &'static [Field]);

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) number: u32,
    /// What an element of the list takes besides its content; 0 if the field is no list.
    pub(crate) bytes: u32,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// Strings are copied.
    Text,
    /// Bytes are slices of the message.
    Slice,
    /// Numbers as varints, also packed.
    Varint,
    /// Numbers of four or eight bytes, also packed.
    Fixed,
    Message(&'static Shape),
}

/// A message that goes between services.
pub trait Shaped {
    /// How many times its length it may take.
    const MOST_TIMES: u64;

    /// About what is decoded of an encoded message takes, in bytes.
    fn decoded_bytes(message: &[u8]) -> u64;
}

/// Messages within one another, as the decoder takes them.
const MAX_DEPTH: u32 = 100;

impl Shape {
    /// About what a message takes besides its own struct. One that is damaged is looked at up to there: the decoder refuses it.
    pub(crate) fn decoded_bytes(&self, message: &[u8]) -> u64 {
        self.within(message, MAX_DEPTH)
    }

    fn within(&self, message: &[u8], depth: u32) -> u64 {
        let (mut rest, mut sum) = (message, 0_u64);
        while let Some((key, after)) = varint(rest) {
            let field = self.0.iter().find(|field| u64::from(field.number) == key >> 3);
            let bytes = field.map_or(0, |field| u64::from(field.bytes));
            let content = match key & 7 {
                0 => {
                    let Some((_, after)) = varint(after) else { break };
                    rest = after;
                    sum = sum.saturating_add(bytes);
                    continue;
                }
                1 => 8,
                2 => {
                    let Some((length, after)) = varint(after) else { break };
                    let length = usize::try_from(length).unwrap_or(usize::MAX);
                    let Some((content, after)) = after.split_at_checked(length) else { break };
                    rest = after;
                    if let Some(field) = field {
                        sum = sum.saturating_add(field.decoded_bytes(content, depth));
                    }
                    continue;
                }
                5 => 4,
                // No message here has groups.
                _ => break,
            };
            let Some((_, after)) = after.split_at_checked(content) else { break };
            rest = after;
            sum = sum.saturating_add(bytes);
        }
        sum
    }
}

impl Field {
    /// About what is made of one occurrence of the field.
    fn decoded_bytes(&self, content: &[u8], depth: u32) -> u64 {
        let (element, length) = (u64::from(self.bytes), content.len() as u64);
        match self.kind {
            Kind::Text => element + length,
            Kind::Slice => element,
            // The last byte of each has no mark.
            Kind::Varint => element * content.iter().filter(|byte| **byte < 0x80).count() as u64,
            Kind::Fixed => length,
            Kind::Message(shape) => match depth.checked_sub(1) {
                Some(depth) => element.saturating_add(shape.within(content, depth)),
                None => element,
            },
        }
    }
}

/// The number at the beginning, and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

mod shapes {
    use super::{Field, Kind, Shape, Shaped};

    include!("gen/shapes.rs");
}

#[cfg(test)]
mod tests;
