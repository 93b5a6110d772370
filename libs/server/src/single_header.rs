//! Headers that have one value.

use ::http::{HeaderMap, HeaderValue};

/// A header came several times, with values that differ.
#[derive(Debug)]
pub(crate) struct Differing;

/// The value of a header; `None` if there is no such header. One that comes several times counts once if its values are
/// equal: Grafana 13.0.1 to 13.1.3 sends the headers of a data source twice over gRPC.
///
/// Values that a proxy has joined by commas are one value here, which its reader has to refuse.
pub(crate) fn single_value<'a>(
    headers: &'a HeaderMap,
    name: &str,
) -> Result<Option<&'a HeaderValue>, Differing> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.any(|other| other != value) { Err(Differing) } else { Ok(Some(value)) }
}
