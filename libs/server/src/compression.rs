//! Compression of responses for clients that accept it.

use std::io::{self, Write};

use ::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use ::http::{HeaderMap, HeaderValue, Request};
use axum::body::{self, Body};
use axum::middleware::Next;
use axum::response::Response;
use http_body::Body as _;

/// Smaller bodies are not worth it.
const MIN_BYTES: u64 = 1024;

/// Larger bodies are compressed off the async threads: about half a millisecond of work.
const INLINE_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Gzip,
    Zstd,
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

fn failed(
    error: axum::Error,
) -> impl futures_util::Stream<Item = Result<bytes::Bytes, axum::Error>> {
    futures_util::stream::once(std::future::ready(Err(error)))
}

impl Encoding {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
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
    let out = Vec::with_capacity(plain.len() / 4);
    match encoding {
        Encoding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
            encoder.write_all(plain)?;
            encoder.finish()
        }
        Encoding::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(out, 1)?;
            encoder.write_all(plain)?;
            encoder.finish()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
