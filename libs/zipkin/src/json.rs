//! What both JSON formats are made of. `null` is the same as a key that is not there.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::net::Ipv4Addr;

use bytes::Bytes;
use serde::de::{
    Deserialize, Deserializer, Error as _, IgnoredAny, SeqAccess, Unexpected, Visitor,
};
use serde_path_to_error::Track;
use tactus_model::error_text;
use tactus_proto::replace_surrogates;

use crate::{Error, check_count};

/// Most bytes of a reason, which repeats input. There is room for a position and a path behind it.
const MAX_REASON_BYTES: usize = error_text::MAX_BYTES - 128;

/// Reads the spans of a list one by one. No bytes are no spans.
///
/// Errors: those of `take`, damage, and anything but white space after the list.
pub(crate) fn read_spans<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    take: impl FnMut(T) -> Result<(), Error>,
) -> Result<(), Error> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let mut refused = None;
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let visitor = SpansVisitor { take, refused: &mut refused, span: PhantomData };
    let result = deserializer.deserialize_seq(visitor).and_then(|()| deserializer.end());
    match (refused, result) {
        (Some(error), _) => Err(error),
        (None, result) => result.map_err(|error| {
            let position = match error.line() {
                0 => String::new(),
                line => format!(" at line {line} column {}", error.column()),
            };
            let text = error.to_string();
            let reason = text.strip_suffix(position.as_str()).unwrap_or(&text);
            let reason = error_text::cut_to(reason.to_owned(), MAX_REASON_BYTES);
            Error::Json { reason, position, path: path_of_error::<T>(body) }
        }),
    }
}

/// The path of the value that cannot be read, as ` ([3].localEndpoint)`; empty for the list itself. Only what is refused is
/// read again for it.
fn path_of_error<'a, T: Deserialize<'a>>(body: &'a [u8]) -> String {
    let (mut track, mut refused) = (Track::new(), None);
    let mut json = serde_json::Deserializer::from_slice(body);
    let visitor = SpansVisitor { take: |_: T| Ok(()), refused: &mut refused, span: PhantomData };
    let read =
        serde_path_to_error::Deserializer::new(&mut json, &mut track).deserialize_seq(visitor);
    match track.path().to_string() {
        // Keys that may be anything are not told.
        path if read.is_err() && path != "." => format!(" ({})", path.trim_end_matches(".?")),
        _ => String::new(),
    }
}

struct SpansVisitor<'r, T, F> {
    take: F,
    /// Why `take` wanted no more: serde's errors are text only.
    refused: &'r mut Option<Error>,
    span: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), Error>> Visitor<'de>
    for SpansVisitor<'_, T, F>
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of spans")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(span) = list.next_element::<T>()? {
            (self.take)(span).map_err(|error| {
                *self.refused = Some(error);
                A::Error::custom("refused")
            })?;
        }
        Ok(())
    }
}

/// A string: a slice of the document where it has no escapes. Not necessarily UTF-8.
#[derive(Debug, Default, Clone)]
pub(crate) struct Text<'a>(Cow<'a, [u8]>);

impl Text<'_> {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text as a slice of `document`, which it was read from, or as a buffer of its own.
    pub(crate) fn into_bytes(self, document: &Bytes) -> Bytes {
        match self.0 {
            Cow::Borrowed([]) => Bytes::new(),
            Cow::Borrowed(slice) => document.slice_ref(slice),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text.into_bytes()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_option(TextVisitor).map(Self)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, [u8]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(&[]))
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_bytes(self)
    }

    fn visit_borrowed_bytes<E>(self, text: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    /// Of a text with escapes.
    fn visit_bytes<E>(self, text: &[u8]) -> Result<Self::Value, E> {
        let mut text = text.to_vec();
        replace_surrogates(&mut text);
        Ok(Cow::Owned(text))
    }
}

/// A number of microseconds. Fractions, which some senders write, are rounded, and negative numbers are 0, as Zipkin has it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Micros(pub(crate) u64);

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(MicrosVisitor).map(Self)
    }
}

struct MicrosVisitor;

impl Visitor<'_> for MicrosVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of microseconds")
    }

    fn visit_unit<E>(self) -> Result<u64, E> {
        Ok(0)
    }

    fn visit_i64<E>(self, number: i64) -> Result<u64, E> {
        Ok(u64::try_from(number).unwrap_or_default())
    }

    fn visit_u64<E>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<u64, E> {
        if number >= u64::MAX as f64 {
            return Err(E::invalid_value(Unexpected::Float(number), &self));
        }
        Ok(number.max(0.0).round() as u64)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<u64, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// Where a service is.
#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "camelCase", default, expecting = "an endpoint")]
pub(crate) struct JsonEndpoint<'a> {
    #[serde(borrow)]
    pub(crate) service_name: Text<'a>,
    #[serde(deserialize_with = "read_ipv4")]
    pub(crate) ipv4: Text<'a>,
    pub(crate) ipv6: Text<'a>,
    pub(crate) port: Port,
}

/// An address, or the number of it, which is what `ip2long` of PHP gives. Other numbers are none.
fn read_ipv4<'de: 'a, 'a, D: Deserializer<'de>>(json: D) -> Result<Text<'a>, D::Error> {
    json.deserialize_any(Ipv4Visitor)
}

struct Ipv4Visitor;

impl<'de> Visitor<'de> for Ipv4Visitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Text::default())
    }

    /// Where integers have 32 bits, PHP's are negative from 128.0.0.0 on.
    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(i32::try_from(number).map(|ip| address(ip.to_be_bytes())).unwrap_or_default())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(u32::try_from(number).map(|ip| address(ip.to_be_bytes())).unwrap_or_default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Text::default())
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text::from(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text::from(text.to_owned()))
    }
}

/// The text of an address; none for 0, which stands for an unknown one.
fn address(ip: [u8; 4]) -> Text<'static> {
    if ip == [0; 4] { Text::default() } else { Text::from(Ipv4Addr::from(ip).to_string()) }
}

/// A port; 0 for what is none.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Port(pub(crate) u16);

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(PortVisitor)
    }
}

struct PortVisitor;

impl Visitor<'_> for PortVisitor {
    type Value = Port;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port")
    }

    fn visit_unit<E>(self) -> Result<Port, E> {
        Ok(Port(0))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Port, E> {
        Ok(Port(u16::try_from(number).unwrap_or_default()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Port, E> {
        Ok(Port(u16::try_from(number).unwrap_or_default()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Port, E> {
        Ok(Port(u16::try_from(number as i64).unwrap_or_default()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Port, E> {
        Ok(Port(text.parse().unwrap_or_default()))
    }
}

/// Reads a list; `keep` says whether an element is worth keeping.
pub(crate) fn read_list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    json: D,
    keep: fn(&T) -> bool,
) -> Result<Vec<T>, D::Error> {
    json.deserialize_any(ListVisitor { keep })
}

struct ListVisitor<T> {
    keep: fn(&T) -> bool,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            if (self.keep)(&element) {
                check_count(elements.len()).map_err(A::Error::custom)?;
                elements.push(element);
            }
        }
        Ok(elements)
    }
}

/// A key that is only of interest for being there.
pub(crate) fn is_there<'de, D: Deserializer<'de>>(json: D) -> Result<bool, D::Error> {
    Option::<IgnoredAny>::deserialize(json).map(|value| value.is_some())
}
