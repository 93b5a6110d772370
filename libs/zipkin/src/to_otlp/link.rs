//! Links, which are tags `otlp.link.0`, `otlp.link.1` and so on without a gap.

use bytes::Bytes;
use tactus_model::{SpanId, TraceId};
use tactus_proto::otlp::span::Link;

use super::{Attributes, keys};
use crate::{SpanError, json_attributes};

const MAX_LINKS: u8 = 128;

/// Takes the links out of the tags. Tags that are no link in form stay.
///
/// Errors: a link whose ids are no hex, or whose attributes are no JSON.
pub(super) fn take_links(
    candidates: Vec<(u8, Bytes)>,
    attributes: &mut Attributes,
) -> Result<Vec<Link>, SpanError> {
    let mut links = Vec::new();
    let mut candidates = candidates;
    candidates.sort_unstable_by_key(|(number, _)| *number);
    let mut rest = candidates.into_iter().zip(0_u8..).peekable();
    let mut others = Vec::new();
    while let Some(((number, text), _)) = rest.next_if(|((number, _), place)| number == place) {
        match parse(number, &text)? {
            Some(link) => links.push(link),
            None => others.push((number, text)),
        }
    }
    others.extend(rest.map(|(candidate, _)| candidate));
    for (number, text) in others {
        let key = format!("{}{number}", keys::LINK);
        attributes.set(key.into(), Some(super::Value::StringValue(text)));
    }
    Ok(links)
}

/// The number of a link's key.
pub(super) fn link_number(key: &[u8]) -> Option<u8> {
    let digits = key.strip_prefix(keys::LINK.as_bytes())?;
    if digits.first() == Some(&b'0') && digits.len() > 1 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (number < MAX_LINKS).then_some(number)
}

/// `traceId|spanId|tracestate|{attributes}|dropped`; the attributes may hold bars. `None`: fewer parts.
fn parse(number: u8, text: &Bytes) -> Result<Option<Link>, SpanError> {
    let error = |reason| SpanError::Link { number, reason };
    let mut parts = text.splitn(4, |byte| *byte == b'|');
    let (Some(trace_id), Some(span_id), Some(state), Some(rest)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Ok(None);
    };
    let Some(last) = rest.iter().rposition(|byte| *byte == b'|') else { return Ok(None) };
    let (Some(json), Some(dropped)) = (rest.get(..last), rest.get(last + 1..)) else {
        return Ok(None);
    };
    let utf8 = |part| std::str::from_utf8(part).ok();
    let trace_id = utf8(trace_id).and_then(TraceId::from_hex);
    let span_id = utf8(span_id).and_then(SpanId::from_hex);
    let dropped = utf8(dropped).and_then(|dropped| dropped.parse().ok());
    Ok(Some(Link {
        trace_id: Bytes::copy_from_slice(&trace_id.ok_or(error("the trace id is no hex"))?.0),
        span_id: Bytes::copy_from_slice(&span_id.ok_or(error("the span id is no hex"))?.0),
        trace_state: text.slice_ref(state),
        attributes: json_attributes::parse(json)
            .ok_or(error("the attributes are no JSON object"))?,
        dropped_attributes_count: dropped.ok_or(error("the dropped count is no number"))?,
        flags: 0,
    }))
}
