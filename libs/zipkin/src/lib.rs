//! Zipkin's formats of spans: JSON, protobuf and Thrift, and the way between them and OTLP.
#![warn(missing_docs)]
