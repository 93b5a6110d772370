//! Removes or hashes attributes in the messages that contain them.

use tactus_model::{
    any_value::{AnyValueRef, DecodedValue, decode, decode_key_value, encode},
    hashed_text, text_of_value,
    wire::{FieldValue, Reader, WireError, put_message_field},
};
use tactus_traceql::{Attribute, AttributeScope, parse_attribute};

/// An attribute key, and the owners whose attributes with this key are edited.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    scope: AttributeScope,
    key: Box<str>,
}

/// The owner of an attribute list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Resource,
    Span,
    Event,
    Link,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EditAction {
    Remove,
    Hash,
}

/// What one rule does to attributes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edit<'r> {
    pub(super) action: EditAction,
    pub(super) targets: &'r [Target],
}

impl Target {
    /// Parses `span.http.url`, `resource.x`, `event.x`, `link.x`, or `.x`, with the syntax of TraceQL.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let expected = "span.x, resource.x, event.x, link.x or .x";
        match parse_attribute(text) {
            Ok(Attribute::Named { scope, parent: false, name })
                if scope != AttributeScope::Instrumentation =>
            {
                Ok(Self { scope, key: name })
            }
            Ok(_) => Err(format!("{text:?} is no attribute that can be changed: {expected}")),
            Err(error) => Err(format!("{text:?} is none of {expected}: {error}")),
        }
    }

    fn is_of(&self, owner: Owner) -> bool {
        match self.scope {
            AttributeScope::Unscoped => matches!(owner, Owner::Resource | Owner::Span),
            AttributeScope::Span => owner == Owner::Span,
            AttributeScope::Resource => owner == Owner::Resource,
            AttributeScope::Event => owner == Owner::Event,
            AttributeScope::Link => owner == Owner::Link,
            AttributeScope::Instrumentation => false,
        }
    }
}

/// True if one of the edits applies to attributes of `owner`.
pub(super) fn concerns(edits: &[Edit<'_>], owner: Owner) -> bool {
    edits.iter().any(|edit| edit.targets.iter().any(|target| target.is_of(owner)))
}

/// What to do with an attribute. Removing takes precedence over everything else.
fn action_on(edits: &[Edit<'_>], owner: Owner, key: &[u8]) -> Option<EditAction> {
    let is_meant = |target: &Target| target.is_of(owner) && target.key.as_bytes() == key;
    let mut found = None;
    for edit in edits.iter().filter(|edit| edit.targets.iter().any(is_meant)) {
        match edit.action {
            EditAction::Remove => return Some(EditAction::Remove),
            EditAction::Hash => found = Some(EditAction::Hash),
        }
    }
    found
}

/// Copies the fields of a message that has attributes in field `list`, and edits these.
pub(super) fn edit_owner(
    message: &[u8],
    list: u32,
    owner: Owner,
    edits: &[Edit<'_>],
) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::with_capacity(message.len() + 64);
    for_each_field(message, |field, value, raw| {
        match value {
            FieldValue::Bytes(attribute) if field == list => {
                put_edited(&mut out, list, owner, edits, (attribute, raw))?;
            }
            _ => out.extend_from_slice(raw),
        }
        Ok(())
    })?;
    Ok(out)
}

/// Copies a Span message, and edits the attributes of the span, its events and its links.
pub(super) fn edit_span(message: &[u8], edits: &[Edit<'_>]) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::with_capacity(message.len() + 64);
    let (events, links) = (concerns(edits, Owner::Event), concerns(edits, Owner::Link));
    for_each_field(message, |field, value, raw| {
        match (field, value) {
            (9, FieldValue::Bytes(attribute)) => {
                put_edited(&mut out, 9, Owner::Span, edits, (attribute, raw))?;
            }
            (11, FieldValue::Bytes(event)) if events => {
                put_message_field(&mut out, 11, &edit_owner(event, 3, Owner::Event, edits)?);
            }
            (13, FieldValue::Bytes(link)) if links => {
                put_message_field(&mut out, 13, &edit_owner(link, 4, Owner::Link, edits)?);
            }
            _ => out.extend_from_slice(raw),
        }
        Ok(())
    })?;
    Ok(out)
}

/// Appends an attribute as the edits leave it. `attribute`: its KeyValue message, and the whole field with tag and
/// length.
fn put_edited(
    out: &mut Vec<u8>,
    field: u32,
    owner: Owner,
    edits: &[Edit<'_>],
    attribute: (&[u8], &[u8]),
) -> Result<(), WireError> {
    let (key, value) = decode_key_value(attribute.0)?;
    match action_on(edits, owner, key) {
        Some(EditAction::Remove) => {}
        Some(EditAction::Hash) => match hash_of(value)? {
            Some(hash) => {
                let (mut key_value, mut any_value) = (Vec::new(), Vec::new());
                encode(&mut any_value, AnyValueRef::String(hash.as_bytes()));
                put_message_field(&mut key_value, 1, key);
                put_message_field(&mut key_value, 2, &any_value);
                put_message_field(out, field, &key_value);
            }
            None => out.extend_from_slice(attribute.1),
        },
        None => out.extend_from_slice(attribute.1),
    }
    Ok(())
}

/// The hash of an encoded AnyValue; `None` if it is unset or already a hash.
fn hash_of(value: &[u8]) -> Result<Option<String>, WireError> {
    let simple = match decode(value)? {
        DecodedValue::Unset => return Ok(None),
        DecodedValue::String(text) => AnyValueRef::String(text),
        DecodedValue::Bool(flag) => AnyValueRef::Bool(flag),
        DecodedValue::Int(number) => AnyValueRef::Int(number),
        DecodedValue::Double(number) => AnyValueRef::Double(number),
        DecodedValue::Array(_) | DecodedValue::KeyValues(_) | DecodedValue::Bytes(_) => {
            AnyValueRef::Encoded(value)
        }
    };
    Ok(hashed_text(&text_of_value(simple)))
}

/// Calls back for every field of a message with its number, its value, and its bytes including tag and length.
pub(super) fn for_each_field<'a>(
    message: &'a [u8],
    mut show: impl FnMut(u32, FieldValue<'a>, &'a [u8]) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut reader = Reader::new(message);
    let mut start = 0;
    while let Some((field, value)) = reader.next_field()? {
        let end = message.len() - reader.remaining();
        show(field, value, &message[start..end])?;
        start = end;
    }
    Ok(())
}
