//! What the tests of this crate share.

mod compress;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tactus_model::TenantId;
use tactus_telemetry::metrics::Registry;

use crate::compression::Encoding;
use crate::metrics::ReceiverMetrics;
use crate::sink::{PushError, PushOutcome, TraceSink};
pub(crate) use compress::compress;

/// One span: trace 1/2, span 3, name `op`, kind server, service `svc`, status error, 1.5 ms.
pub(crate) const ONE_SPAN: &[u8] = b"\x0a\x57\x0a\x17\x0a\x15\x0a\x0cservice.name\x12\x05\x0a\x03svc\
    \x12\x3c\x0a\x00\x12\x38\x0a\x10\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\
    \x12\x08\x00\x00\x00\x00\x00\x00\x00\x03\x2a\x02op\x30\x02\
    \x39\x00\x00\x2a\x36\xfe\x9c\x97\x17\x41\x60\xe3\x40\x36\xfe\x9c\x97\x17\x7a\x02\x18\x02";

/// The same span as JSON, in a mixture of the spellings that are allowed.
pub(crate) const ONE_SPAN_JSON: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"svc"}}]},"unknown":1,"scopeSpans":[{"spans":[{"trace_id":"00000000000000010000000000000002","spanId":"0000000000000003","name":"op","kind":"SPAN_KIND_SERVER","startTimeUnixNano":"1700000000000000000","end_time_unix_nano":1700000000001500000,"status":{"code":2}}]}]}]}"#;

/// The span as a batch of Jaeger's Thrift, binary, without a call around it.
pub(crate) const ONE_SPAN_THRIFT: &str = "0c00010b000100000003737663000f00020c000000010a000100000000000000020a000200000000000000010a000300000000000000030a000400000000000000000b0005000000026f70080007000000010a000800060a24181e40000a000900000000000005dc0f000a0c000000020b0001000000097370616e2e6b696e64080002000000000b000300000006736572766572000b0001000000056572726f720800020000000202000501000000";

/// The bytes of hexadecimal digits.
pub(crate) fn bytes(hex: &str) -> Bytes {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// A sink that keeps what it gets and answers as told.
pub(crate) struct Recorder {
    pub(crate) pushes: Mutex<Vec<(String, Bytes)>>,
    answer: Result<PushOutcome, PushError>,
}

impl Recorder {
    pub(crate) fn new(answer: Result<PushOutcome, PushError>) -> Arc<Self> {
        Arc::new(Self { pushes: Mutex::default(), answer })
    }

    /// Accepts everything, one span each.
    pub(crate) fn accepting() -> Arc<Self> {
        Self::new(Ok(PushOutcome { accepted_spans: 1, ..PushOutcome::default() }))
    }

    /// The bodies pushed so far.
    pub(crate) fn bodies(&self) -> Vec<Bytes> {
        self.pushes.lock().iter().map(|(_, body)| body.clone()).collect()
    }
}

#[async_trait]
impl TraceSink for Recorder {
    async fn push(&self, tenant: TenantId, body: Bytes) -> Result<PushOutcome, PushError> {
        self.pushes.lock().push((tenant.to_string(), body));
        self.answer.clone()
    }
}

/// Metrics of a registry of their own.
pub(crate) fn metrics() -> (Registry, ReceiverMetrics) {
    let registry = Registry::new();
    let metrics = ReceiverMetrics::register(&registry);
    (registry, metrics)
}
