//! One message of a client: JSON-RPC 2.0, as far as MCP uses it.
//!
//! Only known members are kept, others are skipped. So a message never takes more memory than its text.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Number, Value, json};

tactus_model::words! {
    /// The kinds of errors, by the names of JSON-RPC's document.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) enum ErrorKind {
        ParseError = "parse error",
        InvalidRequest = "invalid request",
        MethodNotFound = "method not found",
        InvalidParams = "invalid params",
    }
}

impl ErrorKind {
    fn code(self) -> i32 {
        match self {
            Self::ParseError => -32700,
            Self::InvalidRequest => -32600,
            Self::MethodNotFound => -32601,
            Self::InvalidParams => -32602,
        }
    }
}

/// An error of the protocol. Tools that fail are results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RpcError {
    pub(super) kind: ErrorKind,
    pub(super) reason: String,
}

impl RpcError {
    pub(super) fn new(kind: ErrorKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }

    pub(super) fn params(reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidParams, reason)
    }
}

/// A message that wants a response.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) id: Value,
    pub(super) method: String,
    pub(super) params: Params,
}

/// The parameters that any method has.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Params {
    #[serde(rename = "protocolVersion")]
    pub(super) protocol_version: Member<String>,
    pub(super) name: Member<String>,
    pub(super) uri: Member<String>,
    pub(super) arguments: Member<Arguments>,
}

/// The arguments that any tool has.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Arguments {
    pub(super) query: Member<String>,
    pub(super) start: Member<String>,
    pub(super) end: Member<String>,
    pub(super) trace_id: Member<String>,
    pub(super) scope: Member<String>,
    pub(super) name: Member<String>,
    #[serde(rename = "filter-query")]
    pub(super) filter_query: Member<String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Envelope {
    jsonrpc: Member<String>,
    id: Member<Id>,
    method: Member<String>,
    params: Member<Params>,
    result: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

/// Reads a message. `None`: a notification, or a response to a request that this server never sends; it wants no response.
///
/// Errors: with the id of the message, if it has a valid one.
pub(super) fn parse(body: &[u8]) -> Result<Option<Message>, (Value, RpcError)> {
    let invalid = |reason: &str| RpcError::new(ErrorKind::InvalidRequest, reason);
    let envelope = match serde_json::from_slice(body) {
        Ok(Member::Is(envelope)) => envelope,
        Ok(_) => {
            let is_batch = body.trim_ascii_start().starts_with(b"[");
            let reason = if is_batch {
                "a batch is not supported: send one message at a time"
            } else {
                "expected an object"
            };
            return Err((Value::Null, invalid(reason)));
        }
        Err(error) => {
            let kind = match error.classify() {
                Category::Data => ErrorKind::InvalidRequest,
                _ => ErrorKind::ParseError,
            };
            return Err((Value::Null, RpcError::new(kind, error.to_string())));
        }
    };
    let Envelope { jsonrpc, id, method, params, result, error } = envelope;
    let (has_id, id) = match id {
        Member::Is(Id(id)) => (true, id),
        Member::Absent => (false, Value::Null),
        Member::Other => {
            return Err((Value::Null, invalid("id: expected a string or a number")));
        }
    };
    if !matches!(&jsonrpc, Member::Is(version) if version == "2.0") {
        return Err((id, invalid("jsonrpc: expected \"2.0\"")));
    }
    let method = match method {
        Member::Is(method) => method,
        Member::Absent if result.is_some() || error.is_some() => return Ok(None),
        _ => return Err((id, invalid("method: expected a string"))),
    };
    if !has_id {
        return Ok(None);
    }
    match params {
        Member::Other => Err((id, RpcError::params("params: expected an object"))),
        params => Ok(Some(Message { id, method, params: params.or_default() })),
    }
}

/// The text of a response.
pub(super) fn response(id: &Value, outcome: Result<Value, RpcError>) -> Vec<u8> {
    let response = match outcome {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(RpcError { kind, reason }) => {
            let message = format!("{}: {reason}", kind.text());
            let error = json!({ "code": kind.code(), "message": message });
            json!({ "jsonrpc": "2.0", "id": id, "error": error })
        }
    };
    response.to_string().into_bytes()
}

/// A member of an object of which one type is read. Values of other types are skipped.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) enum Member<T> {
    /// Not there, or null.
    #[default]
    Absent,
    Is(T),
    /// Something of another type.
    Other,
}

impl<T: Default> Member<T> {
    fn or_default(self) -> T {
        match self {
            Self::Is(value) => value,
            _ => T::default(),
        }
    }
}

/// A type of which a member may be.
trait Readable: Sized {
    fn of_text(_: &str) -> Option<Self> {
        None
    }

    fn of_number(_: Number) -> Option<Self> {
        None
    }

    fn of_null() -> Member<Self> {
        Member::Absent
    }

    fn of_map<'de, A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        IgnoredAny.visit_map(map).map(|IgnoredAny| None)
    }
}

impl Readable for String {
    fn of_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

struct Id(Value);

impl Readable for Id {
    fn of_text(text: &str) -> Option<Self> {
        Some(Self(Value::String(text.to_owned())))
    }

    fn of_number(number: Number) -> Option<Self> {
        Some(Self(Value::Number(number)))
    }

    /// Unlike a message without an id, one whose id is null waits for a response.
    fn of_null() -> Member<Self> {
        Member::Other
    }
}

macro_rules! readable_objects {
    ($($object:ty),+) => { $(
        impl Readable for $object {
            fn of_map<'de, A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
                Self::deserialize(MapAccessDeserializer::new(map)).map(Some)
            }
        }
    )+ };
}
readable_objects!(Envelope, Params, Arguments);

impl<'de, T: Readable> Deserialize<'de> for Member<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MemberVisitor(PhantomData))
    }
}

struct MemberVisitor<T>(PhantomData<T>);

impl<T: Readable> MemberVisitor<T> {
    fn of<E>(read: Option<T>) -> Result<Member<T>, E> {
        Ok(read.map_or(Member::Other, Member::Is))
    }
}

impl<'de, T: Readable> Visitor<'de> for MemberVisitor<T> {
    type Value = Member<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(T::of_null())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Member::Other)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Self::of(T::of_number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Self::of(T::of_number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Self::of(Number::from_f64(number).and_then(T::of_number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Self::of(T::of_text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_seq(seq).map(|IgnoredAny| Member::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Self::of(T::of_map(map)?)
    }
}

#[cfg(test)]
mod tests;
