//! Which fields of Jaeger's messages hold further messages.

use tactus_model::hollow::Shape;

static TAG: Shape = Shape(&[]);
static LOG: Shape = Shape(&[(2, &TAG)]);
static REFERENCE: Shape = Shape(&[]);
static WARNING: Shape = Shape(&[]);

/// A process.
pub(super) static PROCESS: Shape = Shape(&[(2, &TAG)]);

/// A span.
pub(super) static SPAN: Shape =
    Shape(&[(4, &REFERENCE), (8, &TAG), (9, &LOG), (10, &PROCESS), (12, &WARNING)]);
