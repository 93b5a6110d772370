//! Compression of responses for clients that accept it.

use std::io::{self, Write};

use ::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use ::http::{HeaderMap, HeaderValue, Request};
use axum::body::{self, Body};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
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

/// Middleware: compresses a response whose whole body is known and has 1 KiB or more. Streams pass.
pub(crate) async fn compress_response(request: Request<Body>, next: Next) -> Response {
    let encoding = accepted_encoding(request.headers());
    let mut response = next.run(request).await;
    let large = response.body().size_hint().exact().is_some_and(|size| size >= MIN_BYTES);
    if !large || response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
    let Some(encoding) = encoding else { return response };
    let (mut parts, body) = response.into_parts();
    // A body of known size is in memory already, so this neither waits nor fails.
    let plain = match body::to_bytes(body, usize::MAX).await {
        Ok(plain) => plain,
        Err(error) => return Response::from_parts(parts, Body::from_stream(failed(error))),
    };
    if plain.len() > PIECE_BYTES {
        parts.headers.remove(CONTENT_LENGTH);
        parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
        return Response::from_parts(parts, Body::from_stream(pieces(encoding, plain)));
    }
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

/// The compressed body. Each piece is made when the connection takes more, away from the async threads.
fn pieces(encoding: Encoding, plain: Bytes) -> impl Stream<Item = io::Result<Bytes>> {
    let begin = Compressor::new(encoding, Vec::new());
    stream::try_unfold(Some((begin, plain)), async |rest| {
        let Some((compressor, mut plain)) = rest else { return Ok(None) };
        let mut compressor = compressor?;
        let task = tokio::task::spawn_blocking(move || {
            compressor.write(&plain.split_to(plain.len().min(PIECE_BYTES)))?;
            if plain.is_empty() {
                return Ok((compressor.finish()?.into(), None));
            }
            let piece: Bytes = compressor.take()?.into();
            Ok((piece, Some((Ok(compressor), plain))))
        });
        task.await.map_err(io::Error::other)?.map(Some)
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

    #[tokio::test]
    async fn pieces_together_are_the_body() {
        let lengths = [PIECE_BYTES + 1, 2 * PIECE_BYTES, 3 * PIECE_BYTES - 7];
        for (length, encoding) in
            lengths.into_iter().zip([Encoding::Gzip, Encoding::Zstd].repeat(2))
        {
            let plain: Vec<u8> = (0..length).map(|at| ((at * at) >> 7) as u8).collect();
            let sent: Vec<Bytes> =
                pieces(encoding, plain.clone().into()).try_collect().await.unwrap();
            assert_eq!(sent.len(), length.div_ceil(PIECE_BYTES));
            let (sent, mut read) = (sent.concat(), Vec::new());
            match encoding {
                Encoding::Gzip => {
                    flate2::read::GzDecoder::new(&sent[..]).read_to_end(&mut read).unwrap();
                }
                Encoding::Zstd => read = zstd::decode_all(&sent[..]).unwrap(),
            }
            assert!(read == plain, "{encoding:?} {length}");
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
