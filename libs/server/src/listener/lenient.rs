//! Accepts requests whose URL has characters that should have been encoded.
//!
//! `curl -g 'http://…/api/search?q={duration>1s}'` sends the `>` as it is, and so do scripts with Jaeger's
//! `tags={"error":"true"}`. Servers in Go accept that, but hyper refuses the whole request. Such characters are encoded
//! here, before hyper reads them, and only in request lines of HTTP/1.1.
//!
//! If a request has a body, or may switch the connection to another protocol, nothing after its head is changed any
//! more: on that connection, later URLs with such characters are refused. To go on, one would have to find the end of
//! the body exactly where hyper does. But so nothing but a request line can ever be changed, not even if a client of a
//! proxy that shares its connections means harm to the next.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::Protocols;

/// Headers after which bytes may come that are no head of a request.
const ENDS_HEADS: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"upgrade"];

/// Longest of them, and one byte more to tell longer names.
const NAME_BYTES: usize = 18;

/// First word of a connection of HTTP/2.
const HTTP2: &[u8] = b"PRI ";

/// The position of the next byte in a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the method.
    Method,
    /// In the URL, or what follows it in the line.
    Url,
    /// In the name of a header.
    Name,
    /// In the value of a header.
    Value,
    /// Behind the last head that we look at.
    Through,
}

/// Follows the heads of requests.
#[derive(Debug)]
struct Heads {
    place: Place,
    /// The beginning of the word that is being read, in lower case for names.
    word: [u8; NAME_BYTES],
    length: usize,
    /// No request line comes behind this head.
    is_last: bool,
}

impl Heads {
    fn new(place: Place) -> Self {
        Self { place, word: [0; NAME_BYTES], length: 0, is_last: false }
    }

    /// Takes the next byte. True if it has to be encoded.
    fn take(&mut self, byte: u8) -> bool {
        match (self.place, byte) {
            (Place::Through, _) => {}
            // Empty lines before a request are allowed.
            (Place::Method, b'\r' | b'\n') => {}
            (Place::Method, b' ') => {
                self.push(byte);
                let is_http2 = self.word() == HTTP2;
                self.go(if is_http2 { Place::Through } else { Place::Url });
            }
            (Place::Url, b'\n') | (Place::Value, b'\n') => self.go(Place::Name),
            (Place::Url, _) => return matches!(byte, b'"' | b'<' | b'>' | b'`' | 0x80..),
            (Place::Name, b'\n') => {
                let is_end = self.word().is_empty();
                match (is_end, self.is_last) {
                    (true, true) => self.go(Place::Through),
                    (true, false) => self.go(Place::Method),
                    (false, _) => self.go(Place::Name),
                }
            }
            (Place::Name, b'\r') => {}
            (Place::Name, b':') => {
                self.is_last |= ENDS_HEADS.contains(&self.word());
                self.go(Place::Value);
            }
            (Place::Method, byte) => self.push(byte),
            (Place::Name, byte) => self.push(byte.to_ascii_lowercase()),
            (Place::Value, _) => {}
        }
        false
    }

    fn go(&mut self, place: Place) {
        self.place = place;
        self.length = 0;
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.word.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    fn word(&self) -> &[u8] {
        self.word.get(..self.length).unwrap_or_default()
    }

    /// `bytes` with what has to be encoded; `None` if nothing has.
    fn encoded(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        // Long values come in many pieces.
        if self.place == Place::Value && !bytes.contains(&b'\n') {
            return None;
        }
        let mut changed: Option<Vec<u8>> = None;
        for (at, &byte) in bytes.iter().enumerate() {
            if self.place == Place::Through && changed.is_none() {
                return None;
            }
            let digit = |half: u8| b"0123456789ABCDEF"[usize::from(half & 15)];
            if self.take(byte) {
                let changed = changed.get_or_insert_with(|| bytes[..at].to_vec());
                changed.extend([b'%', digit(byte >> 4), digit(byte)]);
            } else if let Some(changed) = &mut changed {
                changed.push(byte);
            }
        }
        changed
    }
}

/// Makes the request lines of a connection what hyper takes.
pub(super) struct LenientReads {
    heads: Heads,
    /// Read and encoded, but not taken yet: at most three times what a read had.
    ready: Vec<u8>,
}

impl LenientReads {
    /// Connections with only HTTP/2 are left as they are.
    pub(super) fn new(protocols: Protocols) -> Self {
        let place = match protocols {
            Protocols::Http2 => Place::Through,
            Protocols::Http1 | Protocols::Both => Place::Method,
        };
        Self { heads: Heads::new(place), ready: Vec::new() }
    }

    fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        let count = self.ready.len().min(buffer.remaining());
        buffer.put_slice(&self.ready[..count]);
        self.ready.drain(..count);
        if self.ready.is_empty() {
            // Almost every connection never needs it again.
            self.ready = Vec::new();
        }
    }

    /// Reads from the connection.
    pub(super) fn poll_read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ready.is_empty() {
            self.give(buffer);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(stream).poll_read(cx, buffer))?;
        if self.heads.place != Place::Through
            && let Some(encoded) = self.heads.encoded(&buffer.filled()[before..])
        {
            buffer.set_filled(before);
            self.ready = encoded;
            self.give(buffer);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn encoded(bytes: &[u8], step: usize) -> Vec<u8> {
        let mut heads = Heads::new(Place::Method);
        let pieces = bytes.chunks(step);
        pieces.flat_map(|piece| heads.encoded(piece).unwrap_or_else(|| piece.to_vec())).collect()
    }

    #[test]
    fn only_request_lines_change() {
        for (sent, expected) in [
            (
                "GET /a?q={x>\"1\"} HTTP/1.1\r\nHost: <a>\r\n\r\n",
                "GET /a?q={x%3E%221%22} HTTP/1.1\r\nHost: <a>\r\n\r\n",
            ),
            (
                "GET /é` HTTP/1.1\n\nGET /< HTTP/1.1\n\n",
                "GET /%C3%A9%60 HTTP/1.1\n\nGET /%3C HTTP/1.1\n\n",
            ),
            (
                "\r\n\r\nGET /> HTTP/1.0\r\n\r\n\r\nGET />",
                "\r\n\r\nGET /%3E HTTP/1.0\r\n\r\n\r\nGET /%3E",
            ),
            // A body may look like a request.
            (
                "POST /> HTTP/1.1\r\ncontent-Length: 9\r\n\r\nGET /> HTTP/1.1\r\n\r\n",
                "POST /%3E HTTP/1.1\r\ncontent-Length: 9\r\n\r\nGET /> HTTP/1.1\r\n\r\n",
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding:chunked\r\nA: b\r\n\r\nA />\n\nA />",
                "POST / HTTP/1.1\r\nTransfer-Encoding:chunked\r\nA: b\r\n\r\nA />\n\nA />",
            ),
            (
                "GET / HTTP/1.1\r\nupgrade: h2c\r\n\r\nA />",
                "GET / HTTP/1.1\r\nupgrade: h2c\r\n\r\nA />",
            ),
            (
                "GET / HTTP/1.1\r\nContent-Length-X: 1\r\nX-Upgrade-To-Something-Long: 1\r\n\r\nGET />",
                "GET / HTTP/1.1\r\nContent-Length-X: 1\r\nX-Upgrade-To-Something-Long: 1\r\n\r\nGET /%3E",
            ),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n <\">", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n <\">"),
            ("GET /%3E?a=%22#' HTTP/1.1\r\n\r\n", "GET /%3E?a=%22#' HTTP/1.1\r\n\r\n"),
        ] {
            for step in [1, 2, 7, 1000] {
                let found = encoded(sent.as_bytes(), step);
                assert_eq!(String::from_utf8_lossy(&found), expected, "{step}");
            }
        }
    }

    #[test]
    fn what_is_longer_than_the_buffer_comes_later() {
        let sent = format!("GET /{} HTTP/1.1\r\n\r\n", "<".repeat(100));
        let (mut stream, mut reads) = (sent.as_bytes(), LenientReads::new(Protocols::Both));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut found = Vec::new();
        runtime.block_on(async {
            let mut buffer = [0; 64];
            loop {
                let mut buffer = ReadBuf::new(&mut buffer);
                poll_fn(|cx| reads.poll_read(&mut stream, cx, &mut buffer)).await.unwrap();
                if buffer.filled().is_empty() {
                    break;
                }
                found.extend(buffer.filled());
            }
        });
        let expected = format!("GET /{} HTTP/1.1\r\n\r\n", "%3C".repeat(100));
        assert_eq!(String::from_utf8(found).unwrap(), expected);
    }
}
