//! What is wrong with the ids of a span as sent.

use std::fmt;

/// Why a span cannot be stored under its ids. Displayed as clients are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdProblem {
    /// The trace id has so many bits; one of zeros has none.
    TraceId(usize),
    /// The span id has so many bits; one of zeros has none.
    SpanId(usize),
}

impl IdProblem {
    /// The problem of a span with these ids, if there is one.
    pub fn of(trace_id: &[u8], span_id: &[u8]) -> Option<Self> {
        let bits = |id: &[u8]| if id.iter().all(|&byte| byte == 0) { 0 } else { 8 * id.len() };
        if bits(trace_id) != 128 {
            return Some(Self::TraceId(bits(trace_id)));
        }
        if bits(span_id) != 64 {
            return Some(Self::SpanId(bits(span_id)));
        }
        None
    }
}

impl fmt::Display for IdProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TraceId(bits) => write!(f, "trace ids must be 128 bit, received {bits} bits"),
            Self::SpanId(bits) => {
                write!(f, "span ids must be 64 bit and not all zero, received {bits} bits")
            }
        }
    }
}
