//! One file for each layer that takes bytes from outside.

pub(crate) mod block;
pub(crate) mod decompression;
pub(crate) mod disk;
pub(crate) mod gossip;
pub(crate) mod jaeger;
pub(crate) mod otlp;
pub(crate) mod tenant;
pub(crate) mod tenant_index;
pub(crate) mod traceql;
pub(crate) mod zipkin;

/// Bytes of hexadecimal digits.
fn unhex(hex: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("a digit") as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
