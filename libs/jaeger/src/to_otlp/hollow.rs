//! What a `PostSpansRequest` holds at least.

use tactus_model::hollow::{self, Shape};
use tactus_model::wire::WireError;

/// Key, head and length.
const TAG: Shape = Shape { least_bytes: 4, holds: &[] };
const LOG: Shape = Shape { least_bytes: 4, holds: &[(2, &TAG)] };
/// A span id.
const REFERENCE: Shape = Shape { least_bytes: 10, holds: &[] };
const PROCESS: Shape = Shape { least_bytes: 0, holds: &[(2, &TAG)] };
/// A short trace id and a span id.
const SPAN: Shape = Shape {
    least_bytes: 20,
    holds: &[(4, &REFERENCE), (8, &TAG), (9, &LOG), (10, &PROCESS), (12, &WARNING)],
};
const WARNING: Shape = Shape { least_bytes: 2, holds: &[] };
const BATCH: Shape = Shape { least_bytes: 0, holds: &[(1, &SPAN), (2, &PROCESS)] };
const REQUEST: Shape = Shape { least_bytes: 0, holds: &[(1, &BATCH)] };

/// Whether a `PostSpansRequest` has more messages in it than its bytes can fill. Errors: it is none.
pub(super) fn is_hollow(request: &[u8]) -> Result<bool, WireError> {
    hollow::is_hollow(request, &REQUEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PROTOBUF, bytes};

    /// A request of one batch.
    fn request(batch: &[u8]) -> Vec<u8> {
        let mut request = Vec::new();
        tactus_model::wire::put_bytes_field(&mut request, 1, batch);
        request
    }

    #[test]
    fn real_request_is_not_hollow() {
        assert_eq!(is_hollow(&bytes(PROTOBUF)), Ok(false));
        assert_eq!(is_hollow(&[]), Ok(false));
    }

    #[test]
    fn request_of_spans_or_tags_without_fields_is_hollow() {
        let spans = [0x0a, 0].repeat(1_000);
        assert_eq!(is_hollow(&request(&spans)), Ok(true));
        let tags = [0x42, 0].repeat(1_000);
        let mut span = Vec::new();
        tactus_model::wire::put_bytes_field(&mut span, 1, &tags);
        assert_eq!(is_hollow(&request(&span)), Ok(true));
    }

    #[test]
    fn damage_is_an_error() {
        assert_eq!(is_hollow(&[0x0a, 0x7f]), Err(WireError::Truncated));
    }
}
