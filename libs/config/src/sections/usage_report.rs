//! `usage_report`: accepted; nothing is ever reported.

use super::client::Backoff;
use crate::field::section;

section! {
    /// Anonymous reports, which this program does not send.
    UsageReport {
        reporting_enabled: bool = true, "read, but nothing is ever reported";
        backoff: Backoff = Backoff { max_retries: 0, ..Backoff::default() }, "read, but nothing is ever reported";
    }
}
