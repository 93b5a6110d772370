//! `usage_report`: accepted; nothing is ever reported.

use super::client::Backoff;
use crate::field::section;

section! {
    /// Anonymous reports, which this program does not send.
    UsageReport {
        reporting_enabled: bool = true, "no effect here: nothing is reported";
        backoff: Backoff = Backoff { max_retries: 0, ..Backoff::default() }, "no effect here";
    }
}
