//! Progress bars on standard error, shown only if that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const TICK: Duration = Duration::from_millis(200);

/// A bar over `length` steps of a kind such as `blocks`.
///
/// It disappears when it is finished or dropped, so that only results stay on the screen.
pub(crate) fn bar(what: &'static str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let template = "{msg} {wide_bar} {pos}/{len} {elapsed} (left: {eta})";
    let style = ProgressStyle::with_template(template).expect("the template is constant");
    bar.set_style(style);
    bar.set_message(what);
    bar.enable_steady_tick(TICK);
    bar
}

/// A bar over bytes.
pub(crate) fn bytes(what: &'static str, length: u64) -> ProgressBar {
    let bar = bar(what, length);
    let template = "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {elapsed} (left: {eta})";
    bar.set_style(ProgressStyle::with_template(template).expect("the template is constant"));
    bar
}

/// A spinner for work of unknown length.
pub(crate) fn spinner(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.set_message(what);
    bar.enable_steady_tick(TICK);
    bar
}
