//! The text protocol: encodes requests, and parses answers from a growing buffer.

use bytes::{Buf, Bytes, BytesMut};

use crate::store::{Error, MAX_VALUE_BYTES, Result};

/// Longer lines are invalid: a key has at most 250 bytes, and an error is a sentence.
const MAX_LINE_BYTES: usize = 2048;

/// Asks for the values of some keys.
pub(super) fn get_request(keys: &[&str]) -> Vec<u8> {
    let mut request = b"get".to_vec();
    for key in keys {
        request.push(b' ');
        request.extend_from_slice(key.as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// The line before a value to be stored. `expiry` as in the protocol; 0 means never.
pub(super) fn set_request(key: &str, expiry: u64, bytes: usize) -> Vec<u8> {
    format!("set {key} 0 {expiry} {bytes}\r\n").into_bytes()
}

/// Part of an answer to a request for values.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A value and its key.
    Value { key: String, value: Bytes },
    /// No further one.
    End,
}

/// Takes the next part of an answer out of `buffer`. The inner `Err(n)`: at least this many more bytes are needed.
pub(super) fn next_item(buffer: &mut BytesMut) -> Result<Result<Item, usize>> {
    let Some(line) = line_of(buffer)? else { return Ok(Err(1)) };
    let text = std::str::from_utf8(line).map_err(|_| unexpected(line))?;
    let mut words = text.split(' ');
    match words.next() {
        Some("END") => {
            buffer.advance(text.len() + 2);
            Ok(Ok(Item::End))
        }
        Some("VALUE") => {
            let (key, length) = (words.next(), words.nth(1));
            let length = length.and_then(|length| length.parse::<usize>().ok());
            let (Some(key), Some(length), None) = (key, length, words.next()) else {
                return Err(unexpected(line));
            };
            // It cannot be ours, because no caller stores any.
            if length > MAX_VALUE_BYTES {
                return Err(unexpected(line));
            }
            let start = text.len() + 2;
            let end = start + length;
            if buffer.len() < end + 2 {
                return Ok(Err(end + 2 - buffer.len()));
            }
            if buffer[end..end + 2] != *b"\r\n" {
                return Err(Error::Protocol("value of another length".to_owned()));
            }
            let key = key.to_owned();
            buffer.advance(start);
            let value = buffer.split_to(length).freeze();
            buffer.advance(2);
            Ok(Ok(Item::Value { key, value }))
        }
        _ => Err(unexpected(line)),
    }
}

/// Takes the answer to a store request out of `buffer`. `None`: it has not completely arrived.
pub(super) fn stored(buffer: &mut BytesMut) -> Result<Option<Result<()>>> {
    let Some(line) = line_of(buffer)? else { return Ok(None) };
    let text = String::from_utf8_lossy(line).into_owned();
    let length = line.len() + 2;
    let answer = match text.as_str() {
        "STORED" => Ok(()),
        "NOT_STORED" | "EXISTS" | "NOT_FOUND" => Err(Error::Refused(text.clone())),
        // For example: object too large for cache, out of memory storing object.
        _ if text.starts_with("SERVER_ERROR ") => Err(Error::Refused(text.clone())),
        _ => return Err(unexpected(line)),
    };
    buffer.advance(length);
    Ok(Some(answer))
}

/// Takes the answer to `version` out of `buffer`. `None`: it has not completely arrived.
pub(super) fn version(buffer: &mut BytesMut) -> Result<Option<()>> {
    let Some(line) = line_of(buffer)? else { return Ok(None) };
    if !line.starts_with(b"VERSION ") {
        return Err(unexpected(line));
    }
    let length = line.len() + 2;
    buffer.advance(length);
    Ok(Some(()))
}

/// The first line without its end; `None` if it is incomplete.
fn line_of(buffer: &BytesMut) -> Result<Option<&[u8]>> {
    let head = &buffer[..buffer.len().min(MAX_LINE_BYTES)];
    match memchr::memchr(b'\n', head) {
        Some(end) if end > 0 && buffer[end - 1] == b'\r' => Ok(Some(&buffer[..end - 1])),
        Some(_) => Err(unexpected(head)),
        None if buffer.len() >= MAX_LINE_BYTES => Err(unexpected(head)),
        None => Ok(None),
    }
}

fn unexpected(line: &[u8]) -> Error {
    let shown = &line[..line.len().min(80)];
    Error::Protocol(String::from_utf8_lossy(shown).escape_debug().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> (Vec<Item>, Option<Error>, usize) {
        let (mut buffer, mut items) = (BytesMut::from(text), Vec::new());
        loop {
            match next_item(&mut buffer) {
                Ok(Ok(item)) => items.push(item),
                Ok(Err(more)) => {
                    assert!(more > 0);
                    return (items, None, buffer.len());
                }
                Err(error) => return (items, Some(error), buffer.len()),
            }
            if items.last() == Some(&Item::End) {
                return (items, None, buffer.len());
            }
        }
    }

    #[test]
    fn values_are_read_whatever_they_hold() {
        let text = b"VALUE a 0 7\r\n\r\nEND\r\n\r\nVALUE b 12 0\r\n\r\nEND\r\nrest";
        let (items, error, left) = read(text);
        let value = |key: &str, value: &'static [u8]| Item::Value {
            key: key.to_owned(),
            value: Bytes::from_static(value),
        };
        assert_eq!(items, [value("a", b"\r\nEND\r\n"), value("b", b""), Item::End]);
        assert_eq!((error.is_none(), left), (true, 4));
        for cut in 0..text.len() - 4 {
            let (items, error, _) = read(&text[..cut]);
            assert!(error.is_none() && !items.contains(&Item::End), "{cut}");
        }
    }

    #[test]
    fn answers_outside_the_protocol_are_errors() {
        for text in [
            &b"ERROR\r\n"[..],
            b"SERVER_ERROR out of memory\r\n",
            b"VALUE a 0\r\n",
            b"VALUE a 0 -1\r\n",
            b"VALUE a 0 99999999999\r\n",
            b"VALUE a 0 16777217\r\n",
            b"VALUE a 0 3 1\r\nabc\r\n",
            b"VALUE a 0 2\r\nabc\r\n",
            b"END\n",
            b"\xff\r\n",
            &[b'x'; 5000],
            b"HTTP/1.1 400 Bad Request\r\n",
        ] {
            assert!(read(text).1.is_some(), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn refusals_are_told_from_a_broken_connection() {
        let answer = |text: &str| stored(&mut BytesMut::from(text));
        assert!(matches!(answer("STORED\r\n"), Ok(Some(Ok(())))));
        for text in ["NOT_STORED\r\n", "SERVER_ERROR object too large for cache\r\n"] {
            assert!(matches!(answer(text), Ok(Some(Err(Error::Refused(_))))));
        }
        assert!(matches!(answer("STOR"), Ok(None)));
        assert!(matches!(answer("CLIENT_ERROR bad data chunk\r\n"), Err(Error::Protocol(_))));
        assert!(matches!(version(&mut BytesMut::from("VERSION 1.6\r\n")), Ok(Some(()))));
        assert!(version(&mut BytesMut::from("STORED\r\n")).is_err());
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_or_not_whole(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            read(&bytes);
            let _ = stored(&mut BytesMut::from(&bytes[..]));
            let _ = version(&mut BytesMut::from(&bytes[..]));
        }

        #[test]
        fn damaged_answers_never_panic(
            value in prop::collection::vec(any::<u8>(), 0..50),
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut text = format!("VALUE key 0 {}\r\n", value.len()).into_bytes();
            text.extend_from_slice(&value);
            text.extend_from_slice(b"\r\nEND\r\n");
            let (items, error, _) = read(&text);
            prop_assert!(error.is_none());
            prop_assert_eq!(&items[0], &Item::Value { key: "key".to_owned(), value: value.into() });
            let at = place.index(text.len());
            text[at] = byte;
            read(&text);
        }
    }
}
