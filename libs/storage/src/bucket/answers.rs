//! Limits the size of a store's answers before its client reads them.
//!
//! The client collects answers other than objects as a whole, and aborts a whole listing because of a single key that
//! it does not accept.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use http::StatusCode;
use object_store::client::{HttpError, HttpErrorKind, HttpResponse, HttpResponseBody};
use object_store::path::Path as ObjectPath;
use object_store::{GetResult, GetResultPayload};
use quick_xml::escape::unescape;
use tactus_telemetry::log_limited;

/// The largest answer that is no object. A page of a listing has 5000 keys at most, of 1 KiB each.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Bytes that are read of an answer that reports an error: a code and a sentence.
const MAX_ERROR_BYTES: usize = 2 << 10;
/// The longest wait for the rest of such an answer.
const ERROR_TIME: Duration = Duration::from_secs(2);
/// The most memory that is reserved for an object before its bytes arrive.
const MAX_RESERVED_BYTES: u64 = 64 << 20;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Listing,
    /// The bytes of an object, which are read as a stream; or nothing.
    Object,
    /// Something that the client reads as a whole.
    Document,
}

impl Asked {
    pub(super) fn of(method: &str, query: &str) -> Self {
        let is_listing = query.split('&').any(|pair| pair == "list-type=2" || pair == "comp=list");
        match method {
            "GET" if is_listing => Self::Listing,
            "POST" => Self::Document,
            _ => Self::Object,
        }
    }
}

/// The answer, with no more in it than the client may read as a whole.
pub(super) async fn bounded(asked: Asked, answer: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (parts, body) = answer.into_parts();
    let is_error = parts.status.is_client_error() || parts.status.is_server_error();
    let body = match asked {
        _ if is_error => {
            let start = start_of(body).await;
            if parts.status == StatusCode::BAD_REQUEST && names_request_timeout(&start) {
                // Of this kind so that the request is sent again.
                let text = String::from_utf8_lossy(&start).into_owned();
                return Err(HttpError::new_boxed(HttpErrorKind::Interrupted, text.into()));
            }
            start.into()
        }
        Asked::Object => body,
        Asked::Document => whole(body).await?.into(),
        Asked::Listing if parts.status.is_success() => {
            readable(page_of_listing(whole(body).await?)?).into()
        }
        // A redirect, which says where to in words.
        Asked::Listing => whole(body).await?.into(),
    };
    Ok(HttpResponse::from_parts(parts, body))
}

/// The start of an answer that reports an error, even if it breaks off.
async fn start_of(body: HttpResponseBody) -> Bytes {
    let mut start = Vec::new();
    // After a timeout or an error, the bytes read so far are used.
    let _ = tokio::time::timeout(ERROR_TIME, read_first(body, MAX_ERROR_BYTES, &mut start)).await;
    // The client refuses an answer that is no text.
    String::from_utf8_lossy(&start).into_owned().into()
}

/// True for S3's refusal of a body that stalled, which may pass although its status says that the request is bad.
fn names_request_timeout(refusal: &[u8]) -> bool {
    String::from_utf8_lossy(refusal).contains("<Code>RequestTimeout</Code>")
}

async fn whole(body: HttpResponseBody) -> Result<Bytes, HttpError> {
    let mut bytes = Vec::new();
    read_first(body, MAX_ANSWER_BYTES + 1, &mut bytes).await?;
    if bytes.len() > MAX_ANSWER_BYTES {
        let reason = format!("the answer has more than {MAX_ANSWER_BYTES} bytes");
        return Err(HttpError::new_boxed(HttpErrorKind::Decode, reason.into()));
    }
    Ok(bytes.into())
}

/// The roots of a page of a listing: of S3, and of Azure.
const PAGES: [&[u8]; 2] = [b"ListBucketResult", b"EnumerationResults"];

/// The page, if it is one and whole. To the client any other text with tags is a page without an object, such as the
/// pages that a proxy shows during maintenance.
fn page_of_listing(page: Bytes) -> Result<Bytes, HttpError> {
    let text = page.trim_ascii();
    // The last tag ends the root, with or without a prefix of its namespace. A root without content may be one tag.
    let last = text.iter().rposition(|byte| *byte == b'<').map_or(&[][..], |at| &text[at..]);
    let name = last.split(|byte| b"</: >".contains(byte)).find(|part| PAGES.contains(part));
    if name.is_some() && last.ends_with(b">") {
        return Ok(page);
    }
    let start: String = String::from_utf8_lossy(text).chars().take(200).collect();
    let reason = format!("the answer is no page of a listing: {start}");
    // Of this kind so that it is asked for again.
    Err(HttpError::new_boxed(HttpErrorKind::Interrupted, reason.into()))
}

/// Reads at most this many bytes. Those before an error stay in `out`.
pub(super) async fn read_first(
    body: HttpResponseBody,
    max_bytes: usize,
    out: &mut Vec<u8>,
) -> Result<(), HttpError> {
    let mut stream = body.bytes_stream();
    while out.len() < max_bytes
        && let Some(bytes) = stream.next().await.transpose()?
    {
        let room = max_bytes - out.len();
        out.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
    Ok(())
}

/// The bytes of an object or of a range of it; `None` if they are more than `max_bytes`, which a store may send
/// whatever it was asked for.
pub(super) async fn object(
    found: GetResult,
    max_bytes: u64,
) -> object_store::Result<Option<Bytes>> {
    let length = found.range.end.saturating_sub(found.range.start);
    if length > max_bytes {
        return Ok(None);
    }
    let mut stream: BoxStream<'static, object_store::Result<Bytes>> = match found.payload {
        GetResultPayload::Stream(stream) => stream,
        _ => found.into_stream(),
    };
    let Some(first) = stream.next().await.transpose()? else { return Ok(Some(Bytes::new())) };
    if first.len() as u64 > max_bytes {
        return Ok(None);
    }
    let Some(second) = stream.next().await.transpose()? else { return Ok(Some(first)) };
    let reserved = usize::try_from(length.min(MAX_RESERVED_BYTES)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(reserved);
    bytes.extend_from_slice(&first);
    let mut next = Some(second);
    while let Some(chunk) = next {
        if (bytes.len() + chunk.len()) as u64 > max_bytes {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
        next = stream.next().await.transpose()?;
    }
    Ok(Some(bytes.into()))
}

/// The entries of a page of a listing, and where each has its key.
const ENTRIES: [(&str, &str); 4] = [
    ("Contents", "Key"),
    ("CommonPrefixes", "Prefix"),
    // Azure's
    ("Blob", "Name"),
    ("BlobPrefix", "Name"),
];

/// The page without entries whose key the client does not accept (`a//b`, `../c`). It would fail the whole listing,
/// and none of our objects has such a key.
fn readable(page: Bytes) -> Bytes {
    let Ok(text) = std::str::from_utf8(&page) else { return page };
    let mut unreadable: Vec<_> =
        ENTRIES.iter().flat_map(|(entry, key)| unreadable_entries(text, entry, key)).collect();
    if unreadable.is_empty() {
        return page;
    }
    unreadable.sort_unstable_by_key(|range| range.start);
    let (mut kept, mut done) = (String::with_capacity(text.len()), 0);
    for range in unreadable.into_iter().filter(|range| !range.is_empty()) {
        kept.push_str(text.get(done..range.start).unwrap_or_default());
        done = done.max(range.end);
    }
    kept.push_str(text.get(done..).unwrap_or_default());
    kept.into()
}

fn unreadable_entries<'a>(
    text: &'a str,
    entry: &str,
    key: &str,
) -> impl Iterator<Item = std::ops::Range<usize>> + 'a {
    let tags =
        [format!("<{entry}>"), format!("</{entry}>"), format!("<{key}>"), format!("</{key}>")];
    let mut at = 0;
    std::iter::from_fn(move || {
        let [begin, end, key_begin, key_end] = &tags;
        loop {
            let start = at + text[at..].find(begin)?;
            let stop = start + text[start..].find(end)? + end.len();
            at = stop;
            let name = text[start..stop].split_once(key_begin)?.1.split_once(key_end)?.0;
            // A malformed reference stays as it is: the client refuses such a page.
            let name = unescape(name).unwrap_or(Cow::Borrowed(name));
            if ObjectPath::parse(&*name).is_err() {
                let shown: String = name.chars().take(200).collect();
                log_limited!(warn, key = shown, "ignored an object whose key is not a valid path");
                return Some(start..stop);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listed(keys: &[&str]) -> String {
        let entry = |key: &&str| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>");
        let entries: String = keys.iter().map(entry).collect();
        format!("<ListBucketResult><Prefix>t/</Prefix>{entries}</ListBucketResult>")
    }

    fn page(text: &str) -> String {
        String::from_utf8(readable(Bytes::from(text.to_owned())).to_vec()).unwrap()
    }

    #[test]
    fn entries_that_cannot_be_named_are_left_out_and_others_stay() {
        let keys = ["a/b", "a//b", "../c", "a/./b", "a&#x2f;/b", "a&#1;b", "a&amp;b", "d"];
        assert_eq!(page(&listed(&keys)), listed(&["a/b", "a&amp;b", "d"]));
        let directories = "<R><CommonPrefixes><Prefix>../</Prefix></CommonPrefixes>\
             <CommonPrefixes><Prefix>t/</Prefix></CommonPrefixes></R>";
        let left = "<R><CommonPrefixes><Prefix>t/</Prefix></CommonPrefixes></R>";
        assert_eq!(page(directories), left);
        let azure = "<R><Blobs><Blob><Name>a//b</Name><Properties/></Blob>\
             <BlobPrefix><Name>./</Name></BlobPrefix><Blob><Name>c</Name></Blob></Blobs></R>";
        assert_eq!(page(azure), "<R><Blobs><Blob><Name>c</Name></Blob></Blobs></R>");
    }

    #[test]
    fn page_with_good_keys_is_the_same_bytes() {
        let bytes = Bytes::from(listed(&["a/b", "c"]));
        let same = readable(bytes.clone());
        assert_eq!((same.as_ptr(), same.len()), (bytes.as_ptr(), bytes.len()));
    }

    #[test]
    fn page_of_another_kind_and_one_that_is_cut_off_are_errors() {
        let listing = |text: &str| page_of_listing(Bytes::from(text.to_owned()));
        for page in [
            &*listed(&["a"]),
            "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"x\"><Name>b</Name></ListBucketResult>\n",
            "<ListBucketResult/>",
            "<EnumerationResults><Blobs /></EnumerationResults>",
            "<a:ListBucketResult xmlns:a=\"x\"><a:Name>b</a:Name></a:ListBucketResult>",
            "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\" />",
        ] {
            assert_eq!(listing(page).unwrap(), page);
        }
        for other in [
            "",
            "<html><body>back soon</body></html>",
            "<Error><Code>SlowDown</Code></Error>",
            "<ListBucketResult><Contents><Key>a</Key></Contents>",
            "{}",
        ] {
            assert!(listing(other).unwrap_err().to_string().contains("no page"), "{other}");
        }
    }

    #[test]
    fn requests_are_told_apart() {
        assert_eq!(Asked::of("GET", "delimiter=%2F&list-type=2"), Asked::Listing);
        assert_eq!(Asked::of("GET", "restype=container&comp=list"), Asked::Listing);
        assert_eq!(Asked::of("GET", ""), Asked::Object);
        assert_eq!(Asked::of("PUT", "partNumber=1&uploadId=list-type=2"), Asked::Object);
        assert_eq!(Asked::of("POST", "uploadId=1"), Asked::Document);
    }

    fn endless() -> HttpResponseBody {
        struct Endless;
        impl http_body::Body for Endless {
            type Data = Bytes;
            type Error = HttpError;

            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, HttpError>>> {
                let bytes = Bytes::from_static(&[0; 1 << 10]);
                std::task::Poll::Ready(Some(Ok(http_body::Frame::data(bytes))))
            }
        }
        HttpResponseBody::new(Endless)
    }

    #[tokio::test]
    async fn answers_without_end_are_errors_or_cut() {
        let answer = |status: u16| {
            let mut answer = HttpResponse::new(endless());
            *answer.status_mut() = status.try_into().unwrap();
            answer
        };
        for status in [400, 404, 500, 503] {
            let cut = bounded(Asked::Object, answer(status)).await.unwrap();
            assert_eq!(cut.into_body().bytes().await.unwrap().len(), MAX_ERROR_BYTES);
        }
        for asked in [Asked::Listing, Asked::Document] {
            let error = bounded(asked, answer(200)).await.unwrap_err();
            assert_eq!(error.kind(), HttpErrorKind::Decode);
        }
    }

    #[tokio::test]
    async fn body_that_stalled_is_sent_again_and_a_bad_request_is_not() {
        let answer = |text: &str| {
            let mut answer = HttpResponse::new(text.to_owned().into());
            *answer.status_mut() = StatusCode::BAD_REQUEST;
            answer
        };
        let stalled = answer("<Error><Code>RequestTimeout</Code></Error>");
        let error = bounded(Asked::Object, stalled).await.unwrap_err();
        assert_eq!(error.kind(), HttpErrorKind::Interrupted);
        assert!(error.to_string().contains("RequestTimeout"), "{error}");
        let bad = answer("<Error><Code>InvalidArgument</Code></Error>");
        assert_eq!(bounded(Asked::Object, bad).await.unwrap().status(), StatusCode::BAD_REQUEST);
    }

    proptest! {
        #[test]
        fn no_page_is_a_panic(text in "[a/.&#x;<>é]{0,20}|(</?(Contents|Key|Blob|Name)>|a|é|\\.\\.){0,12}") {
            readable(Bytes::from(text));
        }
    }
}
