//! The trace that the running code belongs to.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The W3C header, and the gRPC metadata key, that hands a trace on.
pub const TRACEPARENT: &str = "traceparent";

/// A span as others refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SpanContext {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    pub(super) sampled: bool,
}

thread_local! {
    /// The spans that this thread is in, the innermost last, by the subscriber's ids.
    static ENTERED: RefCell<Vec<(u64, SpanContext)>> = const { RefCell::new(Vec::new()) };
}

/// The header for requests made by the running code; `None` while self-tracing is off or outside of any span.
pub fn traceparent() -> Option<String> {
    ENTERED.with_borrow(|entered| entered.last().map(|(_, context)| context.header()))
}

/// A trace that somebody keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// The trace of the running code; `None` while self-tracing is off, outside of any span, or if it is not sampled.
    pub fn current() -> Option<Self> {
        let context = ENTERED.with_borrow(|entered| entered.last().map(|(_, context)| *context))?;
        context.sampled.then_some(Self(context.trace_id))
    }
}

/// 32 hex digits.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

pub(super) fn enter(id: u64, context: SpanContext) {
    ENTERED.with_borrow_mut(|entered| entered.push((id, context)));
}

pub(super) fn exit(id: u64) {
    ENTERED.with_borrow_mut(|entered| {
        // Seldom not the last one: spans may be left in any order.
        if let Some(position) = entered.iter().rposition(|(known, _)| *known == id) {
            entered.remove(position);
        }
    });
}

impl SpanContext {
    /// A span of its own trace.
    pub(super) fn root() -> Self {
        let (high, low) = (random(), random());
        let mut trace_id = [0; 16];
        trace_id[..8].copy_from_slice(&high.to_be_bytes());
        trace_id[8..].copy_from_slice(&low.to_be_bytes());
        Self { trace_id, span_id: random().to_be_bytes(), sampled: false }
    }

    /// A span below this one.
    pub(super) fn child(&self) -> Self {
        Self { span_id: random().to_be_bytes(), ..*self }
    }

    pub(super) fn header(&self) -> String {
        let mut text = String::with_capacity(55);
        text.push_str("00-");
        for (bytes, end) in [(&self.trace_id[..], '-'), (&self.span_id[..], '-')] {
            for byte in bytes {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
            }
            text.push(end);
        }
        text.push_str(if self.sampled { "01" } else { "00" });
        text
    }

    /// Reads a header; `None` if it breaks the grammar. Later versions may have more fields.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let mut fields = header.trim().split('-');
        let version = bytes::<1>(fields.next()?)?;
        let trace_id = bytes::<16>(fields.next()?)?;
        let span_id = bytes::<8>(fields.next()?)?;
        let [flags] = bytes::<1>(fields.next()?)?;
        let valid = version != [0xff]
            && (version != [0] || fields.next().is_none())
            && trace_id != [0; 16]
            && span_id != [0; 8];
        valid.then_some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }
}

/// Lower-case hex digits of exactly `N` bytes.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 2 * N || !text.bytes().all(lower) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// A number that no other call in any process gives, as good as surely; never zero.
fn random() -> u64 {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static CALLS: AtomicU64 = AtomicU64::new(0);
    KEYS.hash_one(CALLS.fetch_add(1, Ordering::Relaxed)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn header_reads_back_the_same() {
        let context = SpanContext::parse(HEADER).unwrap();
        assert!(context.sampled);
        assert_eq!(context.header(), HEADER);
        assert_eq!(context.child().trace_id, context.trace_id);
        assert_ne!(context.child().span_id, context.span_id);
    }

    #[test]
    fn malformed_headers_are_none() {
        for header in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert_eq!(SpanContext::parse(header), None, "{header}");
        }
        assert!(
            SpanContext::parse(&HEADER.replacen("00-", "cc-", 1).replace("-01", "-01-x")).is_some()
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = SpanContext::parse(&text);
        }

        #[test]
        fn any_context_reads_back_the_same(trace_id: [u8; 16], span_id: [u8; 8], sampled: bool) {
            let context = SpanContext { trace_id, span_id, sampled };
            let valid = trace_id != [0; 16] && span_id != [0; 8];
            proptest::prop_assert_eq!(SpanContext::parse(&context.header()), valid.then_some(context));
        }
    }
}
