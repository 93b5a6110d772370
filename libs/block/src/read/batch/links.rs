//! Links of vParquet3, where each span has one message with all its links.

use tactus_model::any_value::decode_key_value;
use tactus_model::wire::{FieldValue, Reader, WireError};
use tactus_model::{Attribute, LinkTable, Projection, SpanId, TraceId};

use crate::Result;
use crate::decoding::DecodeError;
use crate::read::attributes::from_message;
use crate::read::columns::Leaf;
use crate::read::task::Task;

/// Reads the links of all spans, as far as the projection wants them.
///
/// Errors: a malformed message; more links and attributes than a row group of this size may hold.
pub(super) fn read_links(
    task: &mut Task<'_>,
    leaf: Leaf,
    projection: &Projection,
    spans: usize,
) -> Result<LinkTable> {
    let messages = task.own_codes(leaf, spans)?;
    let malformed = |_: WireError| DecodeError("the links of a span are malformed");
    let mut links = LinkTable::default();
    let mut count = 0u32;
    // A message in a dictionary may be used by any number of spans, so the total is limited.
    let mut room = task.link_limit();
    for &code in messages.codes.iter() {
        let mut reader = Reader::new(messages.strings.get(code));
        while let Some((field, value)) =
            reader.next_field().map_err(|error| task.corrupt(leaf, malformed(error)))?
        {
            let (1, FieldValue::Bytes(message)) = (field, value) else { continue };
            let link = Link::read(message).map_err(|error| task.corrupt(leaf, malformed(error)))?;
            let taken = 1 + link.attributes.len();
            room = room
                .checked_sub(taken)
                .ok_or_else(|| task.corrupt(leaf, DecodeError("a row group has too many links")))?;
            count += 1;
            push_link(task, leaf, projection, &link, &mut links)?;
        }
        links.starts.push(count);
    }
    Ok(links)
}

/// A link, as it is stored.
#[derive(Default)]
struct Link<'m> {
    trace_id: &'m [u8],
    span_id: &'m [u8],
    trace_state: &'m [u8],
    /// Key and AnyValue message of each.
    attributes: Vec<(&'m [u8], &'m [u8])>,
    dropped: u32,
}

impl<'m> Link<'m> {
    fn read(message: &'m [u8]) -> Result<Self, WireError> {
        let (mut link, mut reader) = (Self::default(), Reader::new(message));
        while let Some((field, value)) = reader.next_field()? {
            match field {
                1 => link.trace_id = value.bytes(1)?,
                2 => link.span_id = value.bytes(2)?,
                3 => link.trace_state = value.bytes(3)?,
                4 => link.attributes.push(decode_key_value(value.bytes(4)?)?),
                5 => link.dropped = value.varint(5)? as u32,
                _ => {}
            }
        }
        Ok(link)
    }
}

fn push_link(
    task: &mut Task<'_>,
    leaf: Leaf,
    projection: &Projection,
    link: &Link<'_>,
    links: &mut LinkTable,
) -> Result<()> {
    if projection.links {
        links.trace_id.push(TraceId::from_slice(link.trace_id));
        links.span_id.push(SpanId::from_slice(link.span_id));
        links.trace_state.push(task.intern(leaf, link.trace_state)?);
    }
    if projection.dropped_counts {
        links.dropped_attributes.push(link.dropped);
    }
    let wanted = &projection.link_attributes;
    if wanted.is_none() {
        return Ok(());
    }
    for (key, value) in link.attributes.iter().filter(|(key, _)| wanted.wants(key)) {
        let key = task.intern(leaf, key)?;
        let value = from_message(value, &mut task.pool).map_err(|error| task.corrupt(leaf, error));
        let (value_type, payload) = value?;
        links.attributes.push(Attribute { key, value_type, payload });
    }
    links.attributes.end_owner();
    Ok(())
}
