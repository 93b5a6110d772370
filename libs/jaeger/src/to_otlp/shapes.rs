//! Which fields of Jaeger's messages hold further messages.

use tactus_model::hollow::Shape;

const fn leaf() -> Shape {
    Shape { least_bytes: 0, holds: &[] }
}

static TAG: Shape = leaf();
static LOG: Shape = Shape { least_bytes: 0, holds: &[(2, &TAG)] };
static REFERENCE: Shape = leaf();
static WARNING: Shape = leaf();

/// A process.
pub(super) static PROCESS: Shape = Shape { least_bytes: 0, holds: &[(2, &TAG)] };

/// A span.
pub(super) static SPAN: Shape = Shape {
    least_bytes: 0,
    holds: &[(4, &REFERENCE), (8, &TAG), (9, &LOG), (10, &PROCESS), (12, &WARNING)],
};
