//! One message of a client: JSON-RPC 2.0, as far as MCP uses it.
//!
//! Only known members are kept, others are skipped. So a message never takes more memory than its text.

use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny};
use serde_json::error::Category;
use serde_json::value::RawValue;
use serde_json::{Value, json};

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
    #[serde(deserialize_with = "text_or_number")]
    pub(super) start: Member<String>,
    #[serde(deserialize_with = "text_or_number")]
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
    #[serde(deserialize_with = "present")]
    id: Option<Box<RawValue>>,
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
    let failed = |error: serde_json::Error| {
        let kind = match error.classify() {
            Category::Data => ErrorKind::InvalidRequest,
            _ => ErrorKind::ParseError,
        };
        (Value::Null, RpcError::new(kind, error.to_string()))
    };
    let first = body.trim_ascii_start().first();
    if first != Some(&b'{') {
        let IgnoredAny = serde_json::from_slice(body).map_err(failed)?;
        return Err((
            Value::Null,
            invalid(match first {
                Some(b'[') => "a batch is not supported: send one message at a time",
                _ => "expected an object",
            }),
        ));
    }
    let envelope = serde_json::from_slice(body).map_err(failed)?;
    let Envelope { jsonrpc, id, method, params, result, error } = envelope;
    let has_id = id.is_some();
    let id = match id.as_deref().map(RawValue::get) {
        None => Value::Null,
        Some(text) if text.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) => {
            serde_json::from_str(text).map_err(failed)?
        }
        Some(_) => return Err((Value::Null, invalid("id: expected a string or a number"))),
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

impl<'de, T: DeserializeOwned> Deserialize<'de> for Member<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self::of(raw.get()))
    }
}

impl<T: DeserializeOwned> Member<T> {
    fn of(json: &str) -> Self {
        match json {
            "null" => Self::Absent,
            // It would be taken for the fields of a struct.
            list if list.starts_with('[') => Self::Other,
            text => serde_json::from_str(text).map_or(Self::Other, Self::Is),
        }
    }
}

/// A text, or a number as the text that it is in JSON.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Member<String>, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    let json = raw.get();
    let is_number = json.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    Ok(if is_number { Member::Is(json.to_owned()) } else { Member::of(json) })
}

/// A member that is there, even if it is null: unlike a message without an id, one whose id is null waits for a response.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests;
