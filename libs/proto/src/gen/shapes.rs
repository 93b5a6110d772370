// This file is @generated from the descriptors of the messages.
static OPENTELEMETRY_PROTO_COMMON_V1_ANYVALUE: Shape = Shape(&[
    Field { number: 5, bytes: 0, kind: Kind::Message(&OPENTELEMETRY_PROTO_COMMON_V1_ARRAYVALUE) },
    Field { number: 6, bytes: 0, kind: Kind::Message(&OPENTELEMETRY_PROTO_COMMON_V1_KEYVALUELIST) },
]);
static OPENTELEMETRY_PROTO_COMMON_V1_ARRAYVALUE: Shape = Shape(&[
    Field { number: 1, bytes: 40, kind: Kind::Message(&OPENTELEMETRY_PROTO_COMMON_V1_ANYVALUE) },
]);
static OPENTELEMETRY_PROTO_COMMON_V1_ENTITYREF: Shape = Shape(&[
    Field { number: 3, bytes: 32, kind: Kind::Slice },
    Field { number: 4, bytes: 32, kind: Kind::Slice },
]);
static OPENTELEMETRY_PROTO_COMMON_V1_INSTRUMENTATIONSCOPE: Shape = Shape(&[
    Field { number: 3, bytes: 80, kind: Kind::Message(&OPENTELEMETRY_PROTO_COMMON_V1_KEYVALUE) },
]);
static OPENTELEMETRY_PROTO_COMMON_V1_KEYVALUE: Shape = Shape(&[
    Field { number: 2, bytes: 0, kind: Kind::Message(&OPENTELEMETRY_PROTO_COMMON_V1_ANYVALUE) },
]);
static OPENTELEMETRY_PROTO_COMMON_V1_KEYVALUELIST: Shape = Shape(&[
    Field { number: 1, bytes: 80, kind: Kind::Message(&OPENTELEMETRY_PROTO_COMMON_V1_KEYVALUE) },
]);
static OPENTELEMETRY_PROTO_RESOURCE_V1_RESOURCE: Shape = Shape(&[
    Field { number: 1, bytes: 80, kind: Kind::Message(&OPENTELEMETRY_PROTO_COMMON_V1_KEYVALUE) },
    Field { number: 3, bytes: 112, kind: Kind::Message(&OPENTELEMETRY_PROTO_COMMON_V1_ENTITYREF) },
]);
static OPENTELEMETRY_PROTO_TRACE_V1_INSTRUMENTATIONLIBRARYSPANS: Shape = Shape(&[
    Field { number: 1, bytes: 0, kind: Kind::Message(&OPENTELEMETRY_PROTO_COMMON_V1_INSTRUMENTATIONSCOPE) },
    Field { number: 2, bytes: 312, kind: Kind::Message(&OPENTELEMETRY_PROTO_TRACE_V1_SPAN) },
]);
static OPENTELEMETRY_PROTO_TRACE_V1_RESOURCESPANS: Shape = Shape(&[
    Field { number: 1, bytes: 0, kind: Kind::Message(&OPENTELEMETRY_PROTO_RESOURCE_V1_RESOURCE) },
    Field { number: 2, bytes: 156, kind: Kind::Message(&OPENTELEMETRY_PROTO_TRACE_V1_SCOPESPANS) },
    Field { number: 1000, bytes: 156, kind: Kind::Message(&OPENTELEMETRY_PROTO_TRACE_V1_INSTRUMENTATIONLIBRARYSPANS) },
]);
static OPENTELEMETRY_PROTO_TRACE_V1_SCOPESPANS: Shape = Shape(&[
    Field { number: 1, bytes: 0, kind: Kind::Message(&OPENTELEMETRY_PROTO_COMMON_V1_INSTRUMENTATIONSCOPE) },
    Field { number: 2, bytes: 312, kind: Kind::Message(&OPENTELEMETRY_PROTO_TRACE_V1_SPAN) },
]);
static OPENTELEMETRY_PROTO_TRACE_V1_SPAN: Shape = Shape(&[
    Field { number: 9, bytes: 80, kind: Kind::Message(&OPENTELEMETRY_PROTO_COMMON_V1_KEYVALUE) },
    Field { number: 11, bytes: 68, kind: Kind::Message(&OPENTELEMETRY_PROTO_TRACE_V1_SPAN_EVENT) },
    Field { number: 13, bytes: 128, kind: Kind::Message(&OPENTELEMETRY_PROTO_TRACE_V1_SPAN_LINK) },
    Field { number: 15, bytes: 0, kind: Kind::Message(&OPENTELEMETRY_PROTO_TRACE_V1_STATUS) },
]);
static OPENTELEMETRY_PROTO_TRACE_V1_SPAN_EVENT: Shape = Shape(&[
    Field { number: 3, bytes: 80, kind: Kind::Message(&OPENTELEMETRY_PROTO_COMMON_V1_KEYVALUE) },
]);
static OPENTELEMETRY_PROTO_TRACE_V1_SPAN_LINK: Shape = Shape(&[
    Field { number: 4, bytes: 80, kind: Kind::Message(&OPENTELEMETRY_PROTO_COMMON_V1_KEYVALUE) },
]);
static OPENTELEMETRY_PROTO_TRACE_V1_STATUS: Shape = Shape(&[
]);
static OPENTELEMETRY_PROTO_TRACE_V1_TRACESDATA: Shape = Shape(&[
    Field { number: 1, bytes: 140, kind: Kind::Message(&OPENTELEMETRY_PROTO_TRACE_V1_RESOURCESPANS) },
]);
static TACTUS_V1_BLOCKPART: Shape = Shape(&[
]);
static TACTUS_V1_BLOCKTIME: Shape = Shape(&[
]);
static TACTUS_V1_BLOCKSWRITTENREQUEST: Shape = Shape(&[
    Field { number: 1, bytes: 32, kind: Kind::Slice },
]);
static TACTUS_V1_BLOCKSWRITTENRESPONSE: Shape = Shape(&[
]);
static TACTUS_V1_CANCELJOB: Shape = Shape(&[
]);
static TACTUS_V1_FINDTRACEINBLOCKSREQUEST: Shape = Shape(&[
    Field { number: 1, bytes: 0, kind: Kind::Message(&TACTUS_V1_FINDTRACEREQUEST) },
    Field { number: 2, bytes: 24, kind: Kind::Text },
]);
static TACTUS_V1_FINDTRACEINBLOCKSRESPONSE: Shape = Shape(&[
    Field { number: 1, bytes: 32, kind: Kind::Slice },
]);
static TACTUS_V1_FINDTRACEREQUEST: Shape = Shape(&[
]);
static TACTUS_V1_FINDTRACERESPONSE: Shape = Shape(&[
]);
static TACTUS_V1_FRONTENDHELLO: Shape = Shape(&[
]);
static TACTUS_V1_FRONTENDMESSAGE: Shape = Shape(&[
    Field { number: 1, bytes: 0, kind: Kind::Message(&TACTUS_V1_JOB) },
    Field { number: 2, bytes: 0, kind: Kind::Message(&TACTUS_V1_CANCELJOB) },
    Field { number: 3, bytes: 0, kind: Kind::Message(&TACTUS_V1_FRONTENDHELLO) },
    Field { number: 4, bytes: 0, kind: Kind::Message(&TACTUS_V1_PING) },
]);
static TACTUS_V1_GENERATEREQUEST: Shape = Shape(&[
    Field { number: 1, bytes: 0, kind: Kind::Message(&TACTUS_V1_PUSHREQUEST) },
]);
static TACTUS_V1_GENERATERESPONSE: Shape = Shape(&[
]);
static TACTUS_V1_HOLDER: Shape = Shape(&[
    Field { number: 2, bytes: 8, kind: Kind::Fixed },
    Field { number: 3, bytes: 8, kind: Kind::Fixed },
    Field { number: 4, bytes: 8, kind: Kind::Fixed },
    Field { number: 5, bytes: 32, kind: Kind::Message(&TACTUS_V1_KEPTTRACES) },
]);
static TACTUS_V1_HOLDINGSREQUEST: Shape = Shape(&[
    Field { number: 3, bytes: 24, kind: Kind::Text },
]);
static TACTUS_V1_HOLDINGSRESPONSE: Shape = Shape(&[
    Field { number: 1, bytes: 120, kind: Kind::Message(&TACTUS_V1_HOLDER) },
]);
static TACTUS_V1_JOB: Shape = Shape(&[
    Field { number: 10, bytes: 0, kind: Kind::Message(&TACTUS_V1_FINDTRACEINBLOCKSREQUEST) },
    Field { number: 11, bytes: 0, kind: Kind::Message(&TACTUS_V1_SEARCHBLOCKREQUEST) },
    Field { number: 12, bytes: 0, kind: Kind::Message(&TACTUS_V1_TAGSINBLOCKREQUEST) },
    Field { number: 13, bytes: 0, kind: Kind::Message(&TACTUS_V1_TAGVALUESINBLOCKREQUEST) },
    Field { number: 14, bytes: 0, kind: Kind::Message(&TACTUS_V1_METRICSINBLOCKREQUEST) },
    Field { number: 15, bytes: 0, kind: Kind::Message(&TACTUS_V1_SPANSINBLOCKSREQUEST) },
    Field { number: 16, bytes: 0, kind: Kind::Message(&TACTUS_V1_SELECTBLOCKSREQUEST) },
    Field { number: 20, bytes: 0, kind: Kind::Message(&TACTUS_V1_FINDTRACEREQUEST) },
    Field { number: 21, bytes: 0, kind: Kind::Message(&TACTUS_V1_SEARCHREQUEST) },
    Field { number: 22, bytes: 0, kind: Kind::Message(&TACTUS_V1_TAGSREQUEST) },
    Field { number: 23, bytes: 0, kind: Kind::Message(&TACTUS_V1_TAGVALUESREQUEST) },
    Field { number: 24, bytes: 0, kind: Kind::Message(&TACTUS_V1_METRICSREQUEST) },
    Field { number: 25, bytes: 0, kind: Kind::Message(&TACTUS_V1_HOLDINGSREQUEST) },
]);
static TACTUS_V1_JOBANSWER: Shape = Shape(&[
    Field { number: 2, bytes: 0, kind: Kind::Message(&TACTUS_V1_JOBFAILURE) },
    Field { number: 10, bytes: 0, kind: Kind::Message(&TACTUS_V1_FINDTRACEINBLOCKSRESPONSE) },
    Field { number: 11, bytes: 0, kind: Kind::Message(&TACTUS_V1_SEARCHRESPONSE) },
    Field { number: 12, bytes: 0, kind: Kind::Message(&TACTUS_V1_TAGSRESPONSE) },
    Field { number: 13, bytes: 0, kind: Kind::Message(&TACTUS_V1_TAGVALUESRESPONSE) },
    Field { number: 14, bytes: 0, kind: Kind::Message(&TACTUS_V1_METRICSRESPONSE) },
    Field { number: 15, bytes: 0, kind: Kind::Message(&TACTUS_V1_SPANSINBLOCKSRESPONSE) },
    Field { number: 16, bytes: 0, kind: Kind::Message(&TACTUS_V1_SELECTBLOCKSRESPONSE) },
    Field { number: 20, bytes: 0, kind: Kind::Message(&TACTUS_V1_FINDTRACERESPONSE) },
    Field { number: 21, bytes: 0, kind: Kind::Message(&TACTUS_V1_SEARCHRESPONSE) },
    Field { number: 22, bytes: 0, kind: Kind::Message(&TACTUS_V1_TAGSRESPONSE) },
    Field { number: 23, bytes: 0, kind: Kind::Message(&TACTUS_V1_TAGVALUESRESPONSE) },
    Field { number: 24, bytes: 0, kind: Kind::Message(&TACTUS_V1_METRICSRESPONSE) },
    Field { number: 25, bytes: 0, kind: Kind::Message(&TACTUS_V1_HOLDINGSRESPONSE) },
]);
static TACTUS_V1_JOBEXPLANATION: Shape = Shape(&[
    Field { number: 3, bytes: 28, kind: Kind::Message(&TACTUS_V1_PRUNED) },
    Field { number: 7, bytes: 24, kind: Kind::Text },
    Field { number: 8, bytes: 24, kind: Kind::Text },
    Field { number: 9, bytes: 32, kind: Kind::Message(&TACTUS_V1_PHASE) },
]);
static TACTUS_V1_JOBFAILURE: Shape = Shape(&[
]);
static TACTUS_V1_KEPTTRACES: Shape = Shape(&[
    Field { number: 2, bytes: 4, kind: Kind::Fixed },
]);
static TACTUS_V1_METRICSEXEMPLAR: Shape = Shape(&[
    Field { number: 1, bytes: 80, kind: Kind::Message(&OPENTELEMETRY_PROTO_COMMON_V1_KEYVALUE) },
]);
static TACTUS_V1_METRICSINBLOCKREQUEST: Shape = Shape(&[
    Field { number: 1, bytes: 0, kind: Kind::Message(&TACTUS_V1_METRICSREQUEST) },
    Field { number: 2, bytes: 0, kind: Kind::Message(&TACTUS_V1_BLOCKPART) },
    Field { number: 3, bytes: 24, kind: Kind::Text },
]);
static TACTUS_V1_METRICSREQUEST: Shape = Shape(&[
    Field { number: 9, bytes: 8, kind: Kind::Fixed },
    Field { number: 10, bytes: 120, kind: Kind::Message(&TACTUS_V1_HOLDER) },
    Field { number: 11, bytes: 48, kind: Kind::Message(&TACTUS_V1_BLOCKTIME) },
    Field { number: 12, bytes: 56, kind: Kind::Message(&TACTUS_V1_TRACESPANS) },
    Field { number: 13, bytes: 8, kind: Kind::Fixed },
]);
static TACTUS_V1_METRICSRESPONSE: Shape = Shape(&[
    Field { number: 1, bytes: 156, kind: Kind::Message(&TACTUS_V1_METRICSSERIES) },
    Field { number: 2, bytes: 0, kind: Kind::Message(&TEMPOPB_SEARCHMETRICS) },
    Field { number: 3, bytes: 24, kind: Kind::Text },
    Field { number: 5, bytes: 24, kind: Kind::Text },
    Field { number: 4, bytes: 172, kind: Kind::Message(&TACTUS_V1_JOBEXPLANATION) },
    Field { number: 7, bytes: 56, kind: Kind::Message(&TACTUS_V1_TRACESPANS) },
    Field { number: 10, bytes: 24, kind: Kind::Text },
]);
static TACTUS_V1_METRICSSERIES: Shape = Shape(&[
    Field { number: 2, bytes: 40, kind: Kind::Message(&OPENTELEMETRY_PROTO_COMMON_V1_ANYVALUE) },
    Field { number: 6, bytes: 4, kind: Kind::Varint },
    Field { number: 7, bytes: 8, kind: Kind::Fixed },
    Field { number: 8, bytes: 8, kind: Kind::Fixed },
    Field { number: 9, bytes: 40, kind: Kind::Message(&TACTUS_V1_METRICSEXEMPLAR) },
]);
static TACTUS_V1_PHASE: Shape = Shape(&[
]);
static TACTUS_V1_PING: Shape = Shape(&[
]);
static TACTUS_V1_PONG: Shape = Shape(&[
]);
static TACTUS_V1_PRUNED: Shape = Shape(&[
]);
static TACTUS_V1_PUSHANSWER: Shape = Shape(&[
    Field { number: 4, bytes: 0, kind: Kind::Message(&TACTUS_V1_PUSHRESPONSE) },
]);
static TACTUS_V1_PUSHFRAME: Shape = Shape(&[
    Field { number: 3, bytes: 0, kind: Kind::Message(&TACTUS_V1_PUSHREQUEST) },
]);
static TACTUS_V1_PUSHREQUEST: Shape = Shape(&[
    Field { number: 2, bytes: 32, kind: Kind::Slice },
    Field { number: 3, bytes: 32, kind: Kind::Slice },
    Field { number: 4, bytes: 48, kind: Kind::Message(&TACTUS_V1_SPANRUN) },
]);
static TACTUS_V1_PUSHRESPONSE: Shape = Shape(&[
    Field { number: 1, bytes: 56, kind: Kind::Message(&TACTUS_V1_REFUSAL) },
]);
static TACTUS_V1_REFUSAL: Shape = Shape(&[
]);
static TACTUS_V1_SEARCHBLOCKREQUEST: Shape = Shape(&[
    Field { number: 1, bytes: 0, kind: Kind::Message(&TACTUS_V1_SEARCHREQUEST) },
    Field { number: 2, bytes: 0, kind: Kind::Message(&TACTUS_V1_BLOCKPART) },
]);
static TACTUS_V1_SEARCHREQUEST: Shape = Shape(&[
    Field { number: 8, bytes: 80, kind: Kind::Message(&TACTUS_V1_SEARCHREQUEST_TAGSENTRY) },
    Field { number: 13, bytes: 120, kind: Kind::Message(&TACTUS_V1_HOLDER) },
]);
static TACTUS_V1_SEARCHREQUEST_TAGSENTRY: Shape = Shape(&[
]);
static TACTUS_V1_SEARCHRESPONSE: Shape = Shape(&[
    Field { number: 1, bytes: 192, kind: Kind::Message(&TEMPOPB_TRACESEARCHMETADATA) },
    Field { number: 2, bytes: 0, kind: Kind::Message(&TEMPOPB_SEARCHMETRICS) },
    Field { number: 3, bytes: 172, kind: Kind::Message(&TACTUS_V1_JOBEXPLANATION) },
]);
static TACTUS_V1_SELECTBLOCKSREQUEST: Shape = Shape(&[
    Field { number: 1, bytes: 0, kind: Kind::Message(&TACTUS_V1_SEARCHREQUEST) },
]);
static TACTUS_V1_SELECTBLOCKSRESPONSE: Shape = Shape(&[
    Field { number: 1, bytes: 4, kind: Kind::Varint },
]);
static TACTUS_V1_SPANRUN: Shape = Shape(&[
]);
static TACTUS_V1_SPANSINBLOCKSREQUEST: Shape = Shape(&[
    Field { number: 2, bytes: 24, kind: Kind::Text },
]);
static TACTUS_V1_SPANSINBLOCKSRESPONSE: Shape = Shape(&[
    Field { number: 1, bytes: 56, kind: Kind::Message(&TACTUS_V1_TRACESPANS) },
]);
static TACTUS_V1_TAGSCOPE: Shape = Shape(&[
    Field { number: 2, bytes: 24, kind: Kind::Text },
]);
static TACTUS_V1_TAGVALUE: Shape = Shape(&[
]);
static TACTUS_V1_TAGVALUESINBLOCKREQUEST: Shape = Shape(&[
    Field { number: 1, bytes: 0, kind: Kind::Message(&TACTUS_V1_TAGVALUESREQUEST) },
    Field { number: 2, bytes: 0, kind: Kind::Message(&TACTUS_V1_BLOCKPART) },
]);
static TACTUS_V1_TAGVALUESREQUEST: Shape = Shape(&[
    Field { number: 8, bytes: 24, kind: Kind::Text },
]);
static TACTUS_V1_TAGVALUESRESPONSE: Shape = Shape(&[
    Field { number: 1, bytes: 48, kind: Kind::Message(&TACTUS_V1_TAGVALUE) },
]);
static TACTUS_V1_TAGSINBLOCKREQUEST: Shape = Shape(&[
    Field { number: 1, bytes: 0, kind: Kind::Message(&TACTUS_V1_TAGSREQUEST) },
    Field { number: 2, bytes: 0, kind: Kind::Message(&TACTUS_V1_BLOCKPART) },
]);
static TACTUS_V1_TAGSREQUEST: Shape = Shape(&[
]);
static TACTUS_V1_TAGSRESPONSE: Shape = Shape(&[
    Field { number: 1, bytes: 48, kind: Kind::Message(&TACTUS_V1_TAGSCOPE) },
]);
static TACTUS_V1_TAILATTRIBUTE: Shape = Shape(&[
]);
static TACTUS_V1_TAILREQUEST: Shape = Shape(&[
]);
static TACTUS_V1_TAILRESPONSE: Shape = Shape(&[
    Field { number: 1, bytes: 40, kind: Kind::Message(&TACTUS_V1_TAILRUN) },
]);
static TACTUS_V1_TAILRUN: Shape = Shape(&[
    Field { number: 3, bytes: 184, kind: Kind::Message(&TACTUS_V1_TAILSPAN) },
]);
static TACTUS_V1_TAILSPAN: Shape = Shape(&[
    Field { number: 10, bytes: 48, kind: Kind::Message(&TACTUS_V1_TAILATTRIBUTE) },
]);
static TACTUS_V1_TRACESPANS: Shape = Shape(&[
    Field { number: 2, bytes: 8, kind: Kind::Fixed },
]);
static TACTUS_V1_WORKERHELLO: Shape = Shape(&[
]);
static TACTUS_V1_WORKERLEAVING: Shape = Shape(&[
]);
static TACTUS_V1_WORKERMESSAGE: Shape = Shape(&[
    Field { number: 1, bytes: 0, kind: Kind::Message(&TACTUS_V1_WORKERHELLO) },
    Field { number: 3, bytes: 0, kind: Kind::Message(&TACTUS_V1_WORKERLEAVING) },
    Field { number: 4, bytes: 0, kind: Kind::Message(&TACTUS_V1_PONG) },
]);
static TEMPOPB_SEARCHMETRICS: Shape = Shape(&[
]);
static TEMPOPB_SERVICESTATS: Shape = Shape(&[
]);
static TEMPOPB_SPAN: Shape = Shape(&[
    Field { number: 5, bytes: 80, kind: Kind::Message(&OPENTELEMETRY_PROTO_COMMON_V1_KEYVALUE) },
]);
static TEMPOPB_SPANSET: Shape = Shape(&[
    Field { number: 1, bytes: 88, kind: Kind::Message(&TEMPOPB_SPAN) },
    Field { number: 3, bytes: 80, kind: Kind::Message(&OPENTELEMETRY_PROTO_COMMON_V1_KEYVALUE) },
]);
static TEMPOPB_TRACESEARCHMETADATA: Shape = Shape(&[
    Field { number: 6, bytes: 0, kind: Kind::Message(&TEMPOPB_SPANSET) },
    Field { number: 7, bytes: 52, kind: Kind::Message(&TEMPOPB_SPANSET) },
    Field { number: 8, bytes: 72, kind: Kind::Message(&TEMPOPB_TRACESEARCHMETADATA_SERVICESTATSENTRY) },
]);
static TEMPOPB_TRACESEARCHMETADATA_SERVICESTATSENTRY: Shape = Shape(&[
    Field { number: 2, bytes: 0, kind: Kind::Message(&TEMPOPB_SERVICESTATS) },
]);
impl Shaped for crate::opentelemetry::proto::trace::v1::TracesData {
    const MOST_TIMES: u64 = 16;

    fn decoded_bytes(message: &[u8]) -> u64 {
        OPENTELEMETRY_PROTO_TRACE_V1_TRACESDATA.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::BlocksWrittenRequest {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_BLOCKSWRITTENREQUEST.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::BlocksWrittenResponse {
    const MOST_TIMES: u64 = 16;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_BLOCKSWRITTENRESPONSE.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::FindTraceInBlocksRequest {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_FINDTRACEINBLOCKSREQUEST.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::FindTraceInBlocksResponse {
    const MOST_TIMES: u64 = 16;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_FINDTRACEINBLOCKSRESPONSE.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::FindTraceRequest {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_FINDTRACEREQUEST.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::FindTraceResponse {
    const MOST_TIMES: u64 = 16;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_FINDTRACERESPONSE.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::FrontendMessage {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_FRONTENDMESSAGE.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::GenerateRequest {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_GENERATEREQUEST.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::GenerateResponse {
    const MOST_TIMES: u64 = 16;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_GENERATERESPONSE.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::HoldingsRequest {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_HOLDINGSREQUEST.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::HoldingsResponse {
    const MOST_TIMES: u64 = 16;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_HOLDINGSRESPONSE.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::JobAnswer {
    const MOST_TIMES: u64 = 16;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_JOBANSWER.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::MetricsInBlockRequest {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_METRICSINBLOCKREQUEST.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::MetricsRequest {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_METRICSREQUEST.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::MetricsResponse {
    const MOST_TIMES: u64 = 16;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_METRICSRESPONSE.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::PushAnswer {
    const MOST_TIMES: u64 = 16;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_PUSHANSWER.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::PushFrame {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_PUSHFRAME.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::PushRequest {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_PUSHREQUEST.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::PushResponse {
    const MOST_TIMES: u64 = 16;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_PUSHRESPONSE.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::SearchBlockRequest {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_SEARCHBLOCKREQUEST.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::SearchRequest {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_SEARCHREQUEST.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::SearchResponse {
    const MOST_TIMES: u64 = 16;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_SEARCHRESPONSE.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::SelectBlocksRequest {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_SELECTBLOCKSREQUEST.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::SelectBlocksResponse {
    const MOST_TIMES: u64 = 16;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_SELECTBLOCKSRESPONSE.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::SpansInBlocksRequest {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_SPANSINBLOCKSREQUEST.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::SpansInBlocksResponse {
    const MOST_TIMES: u64 = 16;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_SPANSINBLOCKSRESPONSE.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::TagValuesInBlockRequest {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_TAGVALUESINBLOCKREQUEST.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::TagValuesRequest {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_TAGVALUESREQUEST.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::TagValuesResponse {
    const MOST_TIMES: u64 = 16;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_TAGVALUESRESPONSE.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::TagsInBlockRequest {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_TAGSINBLOCKREQUEST.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::TagsRequest {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_TAGSREQUEST.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::TagsResponse {
    const MOST_TIMES: u64 = 16;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_TAGSRESPONSE.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::TailRequest {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_TAILREQUEST.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::TailResponse {
    const MOST_TIMES: u64 = 16;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_TAILRESPONSE.decoded_bytes(message)
    }
}
impl Shaped for crate::tactus::v1::WorkerMessage {
    const MOST_TIMES: u64 = 4;

    fn decoded_bytes(message: &[u8]) -> u64 {
        TACTUS_V1_WORKERMESSAGE.decoded_bytes(message)
    }
}
