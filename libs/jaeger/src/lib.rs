//! Jaeger's formats of spans: Thrift, protobuf and JSON, and the way between them and OTLP.
#![warn(missing_docs)]
