//! Compression of responses for clients that accept it.

use std::io::{self, Write};

use ::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use ::http::{HeaderMap, HeaderValue, Request};
use axum::body::{self, Body};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use http_body::Body as _;

/// Smaller bodies are not worth it.
const MIN_BYTES: u64 = 1024;

/// Larger bodies are compressed off the async threads: about half a millisecond of work.
const INLINE_BYTES: usize = 64 << 10;

/// Larger bodies are compressed while they are sent, this many bytes of them at a time: the client has something to do
/// meanwhile, and no time limit for the beginning of a response counts the work.
const PIECE_BYTES: usize = 1 << 20;

tactus_model::words! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Encoding: name {
        Gzip = "gzip",
        Zstd = "zstd",
    }
}

/// Middleware: compresses a response of 1 KiB or more. One whose length nobody knows is compressed while it is sent,
/// except for events, which must not wait for each other.
pub(crate) async fn compress_response(request: Request<Body>, next: Next) -> Response {
    let encoding = accepted_encoding(request.headers());
    let mut response = next.run(request).await;
    let size = response.body().size_hint().exact();
    let passes = match size {
        Some(size) => size < MIN_BYTES,
        None => is_of_events(response.headers()),
    };
    if passes || response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
    let Some(encoding) = encoding else { return response };
    let (mut parts, body) = response.into_parts();
    if size.is_none_or(|size| size > PIECE_BYTES as u64) {
        parts.headers.remove(CONTENT_LENGTH);
        parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
        return Response::from_parts(parts, Body::from_stream(pieces(encoding, body)));
    }
    // A body of known size is in memory already, so this neither waits nor fails.
    let plain = match body::to_bytes(body, usize::MAX).await {
        Ok(plain) => plain,
        Err(error) => return Response::from_parts(parts, Body::from_stream(failed(error))),
    };
    let original = plain.clone();
    let compressed = if plain.len() <= INLINE_BYTES {
        compress(encoding, &plain)
    } else {
        let task = tokio::task::spawn_blocking(move || compress(encoding, &plain));
        task.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    };
    let Ok(compressed) = compressed else {
        return Response::from_parts(parts, Body::from(original));
    };
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    Response::from_parts(parts, Body::from(compressed))
}

/// Whether the body consists of events, which its reader wants as they come.
fn is_of_events(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(b"text/event-stream"))
}

fn failed(error: axum::Error) -> impl Stream<Item = Result<Bytes, axum::Error>> {
    stream::once(std::future::ready(Err(error)))
}

/// The encoding with the highest quality; zstd wins over gzip at the same one.
fn accepted_encoding(headers: &HeaderMap) -> Option<Encoding> {
    let mut best = None;
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for item in values.flat_map(|value| value.split(',')) {
        let (name, parameter) = item.split_once(';').unwrap_or((item, ""));
        let encoding = match name.trim() {
            "gzip" => Encoding::Gzip,
            "zstd" => Encoding::Zstd,
            _ => continue,
        };
        let quality = match parameter.trim().strip_prefix("q=") {
            Some(quality) => quality.trim().parse().unwrap_or(0.0_f32),
            None => 1.0,
        };
        let better = match best {
            None => quality > 0.0,
            Some((_, known)) => quality > known || (quality == known && encoding == Encoding::Zstd),
        };
        if better {
            best = Some((encoding, quality));
        }
    }
    best.map(|(encoding, _)| encoding)
}

fn compress(encoding: Encoding, plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressor = Compressor::new(encoding, Vec::with_capacity(plain.len() / 4))?;
    compressor.write(plain)?;
    compressor.finish()
}

/// The compressed body. Each piece is made when the connection takes more, long ones away from the async threads.
/// Errors: those of the body, so that the connection breaks off.
fn pieces(encoding: Encoding, body: Body) -> impl Stream<Item = Result<Bytes, axum::Error>> {
    let begin = Compressor::new(encoding, Vec::new()).map_err(axum::Error::new);
    let state = begin.map(|compressor| (compressor, body.into_data_stream(), Bytes::new()));
    stream::try_unfold(Some(state), async |state| {
        let Some(state) = state else { return Ok(None) };
        let (mut compressor, mut body, mut rest) = state?;
        let mut written = 0;
        loop {
            if rest.is_empty() {
                rest = match body.next().await {
                    Some(plain) => plain?,
                    None => {
                        let end = compressor.finish().map_err(axum::Error::new)?;
                        return Ok(Some((end.into(), None)));
                    }
                };
            }
            let plain = rest.split_to(rest.len().min(PIECE_BYTES));
            written += plain.len();
            compressor = compressor.written(plain).await.map_err(axum::Error::new)?;
            // Short pieces are put together: each that is sent makes the whole longer.
            if written >= INLINE_BYTES {
                let piece = compressor.take().map_err(axum::Error::new)?;
                return Ok(Some((piece.into(), Some(Ok((compressor, body, rest))))));
            }
        }
    })
}

enum Compressor {
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Compressor {
    fn new(encoding: Encoding, out: Vec<u8>) -> io::Result<Self> {
        Ok(match encoding {
            Encoding::Gzip => {
                Self::Gzip(flate2::write::GzEncoder::new(out, flate2::Compression::fast()))
            }
            Encoding::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(out, 1)?),
        })
    }

    fn write(&mut self, plain: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(plain),
            Self::Zstd(encoder) => encoder.write_all(plain),
        }
    }

    /// After this was written, away from the async threads if it is long.
    async fn written(mut self, plain: Bytes) -> io::Result<Self> {
        if plain.len() <= INLINE_BYTES {
            return self.write(&plain).map(|()| self);
        }
        let task = tokio::task::spawn_blocking(move || self.write(&plain).map(|()| self));
        task.await.map_err(io::Error::other)?
    }

    /// Takes the output for all that was written so far.
    fn take(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => {
                encoder.flush()?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Zstd(encoder) => {
                encoder.flush()?;
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt as _;
    use std::io::Read as _;

    fn read(encoding: Encoding, sent: &[u8]) -> io::Result<Vec<u8>> {
        let mut read = Vec::new();
        match encoding {
            Encoding::Gzip => {
                flate2::read::GzDecoder::new(sent).read_to_end(&mut read).map(|_| read)
            }
            Encoding::Zstd => zstd::decode_all(sent),
        }
    }

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|at| ((at * at) >> 7) as u8).collect()
    }

    #[tokio::test]
    async fn pieces_together_are_the_body() {
        let lengths = [PIECE_BYTES + 1, 2 * PIECE_BYTES, 3 * PIECE_BYTES - 7];
        for (length, encoding) in
            lengths.into_iter().zip([Encoding::Gzip, Encoding::Zstd].repeat(2))
        {
            let plain = text(length);
            let sent: Vec<Bytes> =
                pieces(encoding, plain.clone().into()).try_collect().await.unwrap();
            // A short rest comes with the end.
            let rest = usize::from(length % PIECE_BYTES >= INLINE_BYTES);
            assert_eq!(sent.len(), length / PIECE_BYTES + rest + 1);
            assert!(read(encoding, &sent.concat()).unwrap() == plain, "{encoding:?} {length}");
        }
    }

    #[tokio::test]
    async fn bodies_of_unknown_length_are_compressed_and_break_off_as_they_do() {
        let plain = text(500_000);
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            for size in [10, 1000, 200_000] {
                let parts = || plain.chunks(size).map(|part| Ok(Bytes::copy_from_slice(part)));
                let whole =
                    Body::from_stream(stream::iter(parts().collect::<Vec<io::Result<_>>>()));
                let sent: Vec<Bytes> = pieces(encoding, whole).try_collect().await.unwrap();
                assert!(read(encoding, &sent.concat()).unwrap() == plain, "{encoding:?} {size}");
                assert!(sent.len() <= 1 + plain.len() / INLINE_BYTES.min(size.max(INLINE_BYTES)));
                let broken = parts().chain([Err(io::Error::other("no more"))]);
                let broken = Body::from_stream(stream::iter(broken.collect::<Vec<_>>()));
                let sent: Vec<_> = pieces(encoding, broken).collect().await;
                assert!(sent.last().is_some_and(Result::is_err) && sent.len() > 1);
            }
        }
    }

    fn accepted(value: &'static str) -> Option<Encoding> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
        accepted_encoding(&headers)
    }

    #[test]
    fn best_quality_wins_and_zstd_at_the_same_one() {
        assert_eq!(accepted("gzip, deflate, br, zstd"), Some(Encoding::Zstd));
        assert_eq!(accepted("zstd, gzip"), Some(Encoding::Zstd));
        assert_eq!(accepted("zstd;q=0.5, gzip"), Some(Encoding::Gzip));
        assert_eq!(accepted("gzip;q=0"), None);
        assert_eq!(accepted("br, *"), None);
    }
}
