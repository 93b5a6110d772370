//! What credential servers answer: what the store's client may read of it, and how long it counts.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

/// Seconds, or a time in seconds, that the client can add to its clock.
const LATEST: u64 = 1 << 50;

/// What an answer is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One word: the token of a session with the EC2 instance's metadata.
    Session,
    /// One word: the name of the instance's role.
    Role,
    /// JSON or XML with credentials.
    Document,
}

impl Form {
    pub(super) fn of(path: &str) -> Self {
        if path.ends_with("/latest/api/token") {
            Self::Session
        } else if path.ends_with("/security-credentials/") {
            Self::Role
        } else {
            Self::Document
        }
    }

    /// What the client may read; `None` where it would panic.
    pub(super) fn checked(self, bytes: &[u8]) -> Option<Bytes> {
        let text = std::str::from_utf8(bytes).ok()?.trim();
        let is_good = match self {
            // The client makes a path of it.
            Self::Session | Self::Role => is_name(text),
            Self::Document if text.starts_with('<') => is_plain_xml(text),
            Self::Document => is_plain_json(&serde_json::from_str(text).ok()?),
        };
        is_good.then(|| Bytes::copy_from_slice(text.as_bytes()))
    }
}

fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-/:~".contains(c);
    !text.is_empty() && text.chars().all(is_part)
}

/// True for what can be in a header.
fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// True if the text of every element can be in a header.
fn is_plain_xml(text: &str) -> bool {
    text.split('<').skip(1).all(|tag| {
        let Some((tag, after)) = tag.split_once('>') else { return false };
        // Entities and marked sections may hide what the text is.
        !tag.starts_with("![")
            && (after.trim().is_empty() || is_visible(after) && !after.contains("&#"))
    })
}

fn is_plain_json(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => true,
        Value::Number(number) => number.as_f64().is_some_and(|number| number < LATEST as f64),
        Value::String(text) => is_visible(text),
        Value::Array(values) => values.iter().all(is_plain_json),
        Value::Object(fields) => fields.iter().all(|(name, value)| {
            let time = value.as_str().filter(|_| name.starts_with("expires"));
            let is_late =
                time.is_some_and(|time| time.parse().is_ok_and(|time: u64| time >= LATEST));
            is_plain_json(value) && !is_late
        }),
    }
}

/// An answer whose credentials are valid until some time.
pub(super) struct Kept {
    bytes: Bytes,
    until: Timestamp,
}

impl Kept {
    /// `None` for an answer of now that does not say how long it counts.
    pub(super) fn of(bytes: &Bytes, now: Timestamp) -> Option<Self> {
        let until = end_of(std::str::from_utf8(bytes).ok()?, now)?;
        Some(Self { bytes: bytes.clone(), until })
    }

    /// The answer as if it were given now; `None` once its credentials have expired.
    pub(super) fn given_at(&self, now: Timestamp) -> Option<Bytes> {
        let left = self.until.duration_since(now).as_secs();
        if left <= 0 {
            return None;
        }
        match serde_json::from_slice::<Value>(&self.bytes) {
            // The client counts these seconds from when it reads them.
            Ok(mut answer) if answer["expires_in"].is_number() => {
                answer["expires_in"] = left.into();
                Some(answer.to_string().into())
            }
            _ => Some(self.bytes.clone()),
        }
    }
}

/// Until when the credentials of an answer of now are valid.
fn end_of(text: &str, now: Timestamp) -> Option<Timestamp> {
    if text.starts_with('<') {
        let (_, after) = text.split_once("<Expiration>")?;
        return after.split_once('<')?.0.trim().parse().ok();
    }
    let answer: Value = serde_json::from_str(text).ok()?;
    if let Some(time) = answer.get("Expiration") {
        return time.as_str()?.parse().ok();
    }
    let seconds = |name: &str| {
        let value = answer.get(name)?;
        value.as_i64().or_else(|| value.as_str()?.parse().ok())
    };
    let end = seconds("expires_on")
        .or_else(|| Some(now.as_second().saturating_add(seconds("expires_in")?)))?;
    Timestamp::from_second(end).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_taken(path: &str, text: &str) -> bool {
        Form::of(path).checked(text.as_bytes()).is_some()
    }

    #[test]
    fn what_no_header_or_path_can_have_is_not_taken() {
        let role = "/latest/meta-data/iam/security-credentials/";
        assert!(is_taken(role, "team+a=b,c.d@e_f-g\n"));
        for text in ["", "a b", "a\nb", "<html>", "{}", "é", "a?b", "a#b"] {
            assert!(!is_taken(role, text), "{text:?}");
        }
        for text in [
            r#"{"Token": "a b", "Expiration": "2026-01-01T00:00:00Z", "n": [null, true]}"#,
            r#"{"access_token": "t", "expires_in": 3600, "expires_on": "1800000000"}"#,
            "<?xml version=\"1.0\"?>\n<R>\n <Token>a&amp;b</Token>\n</R>\n",
        ] {
            assert!(is_taken("/x", text), "{text:?}");
        }
        for text in [
            "",
            "x",
            r#"{"Token": "a\nb"}"#,
            r#"{"Token": ["é"]}"#,
            r#"{"expires_in": 18446744073709551615}"#,
            r#"{"expires_in": 1e300}"#,
            r#"{"expires_on": "18446744073709551615"}"#,
            "<Token>a&#10;b</Token>",
            "<Token>a\nb</Token>",
            "<Token><![CDATA[a\nb]]></Token>",
            "<Token",
        ] {
            assert!(!is_taken("/x", text), "{text:?}");
        }
    }

    #[test]
    fn kept_answer_counts_until_its_credentials_expire() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |seconds| Timestamp::from_second(now.as_second() + seconds).unwrap();
        for (text, later) in [
            (r#"{"Expiration":"2026-01-01T00:01:40Z","Token":"t"}"#, None),
            (r#"{"access_token":"t","expires_on":"1767225700"}"#, None),
            ("<R><Expiration>2026-01-01T00:01:40Z</Expiration></R>", None),
            // What is left of the hundred seconds.
            (
                r#"{"access_token":"t","expires_in":100}"#,
                Some(r#"{"access_token":"t","expires_in":70}"#),
            ),
        ] {
            let kept = Kept::of(&Bytes::from(text), now).unwrap();
            assert_eq!(kept.given_at(at(30)).unwrap(), later.unwrap_or(text));
            assert!(kept.given_at(at(99)).is_some() && kept.given_at(at(100)).is_none(), "{text}");
        }
        for text in ["{}", "<R/>", r#"{"Expiration":"soon"}"#, r#"{"expires_in":"soon"}"#] {
            assert!(Kept::of(&Bytes::from(text), now).is_none(), "{text}");
        }
    }
}
