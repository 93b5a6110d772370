use std::io;
use std::sync::{Arc, Mutex};

use tracing::{debug, error, info, info_span, warn};

use super::*;
use crate::log_limited;

/// Runs `log` under our layer and returns the lines, without level (unless asked for), time and
/// caller, which have tests of their own.
fn lines(format: LogFormat, level: LogLevel, log: impl FnOnce()) -> Vec<String> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    let write = move |line: &str| sink.lock().unwrap().push(line.to_owned());
    let layer = LineLayer::new(format, write).with_filter(filter(move || level));
    tracing::subscriber::with_default(Registry::default().with(layer), log);
    let lines = lines.lock().unwrap();
    assert!(lines.iter().all(|line| line.ends_with('\n') && line.matches('\n').count() == 1));
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

fn tails(log: impl FnOnce()) -> Vec<String> {
    let tail = |line: String| line.split_once(" msg=").unwrap().1.to_owned();
    lines(LogFormat::Logfmt, LogLevel::Info, log).into_iter().map(tail).collect()
}

#[test]
fn logfmt_line_begins_with_level_time_caller_and_message() {
    let lines = lines(LogFormat::Logfmt, LogLevel::Info, || warn!(spans = 3, "spans refused"));
    let words: Vec<&str> = lines[0].splitn(4, ' ').collect();
    assert_eq!(words[0], "level=warn");
    let time = words[1].strip_prefix("ts=").unwrap();
    assert!(time.len() == 30 && time.starts_with("20") && time.ends_with('Z'), "{time}");
    assert!(words[2].starts_with("caller=telemetry/logging/tests.rs:"), "{}", words[2]);
    assert_eq!(words[3], "msg=\"spans refused\" spans=3");
}

#[test]
fn logfmt_quotes_only_what_needs_it() {
    let lines = tails(|| {
        info!(a = "x", b = "x y", c = "q\"=\\\n\u{7}", d = "", e = "ünï", f = ?Some("z"), "ok");
        info!(t = true, n = -1, u = u64::MAX, x = 0.5, nan = f64::NAN, "ok");
    });
    assert_eq!(
        lines,
        [
            r#"ok a=x b="x y" c="q\"=\\\n\u0007" d= e=ünï f="Some(\"z\")""#,
            "ok t=true n=-1 u=18446744073709551615 x=0.5 nan=NaN",
        ]
    );
}

#[test]
fn long_error_is_cut_and_says_so() {
    let long = "é".repeat(1 << 20);
    let lines = tails(|| info!(error = long, query = "x".repeat(10_000), "ok"));
    let (_, error) = lines[0].split_once("error=").unwrap();
    let (error, query) = error.split_once(" query=").unwrap();
    let error = error.trim_matches('"');
    assert!(error.len() <= 1 << 10 && error.ends_with("é… (cut)"), "{}", error.len());
    assert_eq!(query.len(), 10_000);
}

#[test]
fn json_line_has_the_same_keys() {
    let lines = lines(LogFormat::Json, LogLevel::Info, || {
        error!(tenant = "a\"b\\c\n", spans = 3, nan = f64::NAN, "flush failed");
    });
    let (head, rest) = lines[0].split_once(",\"ts\":\"").unwrap();
    assert_eq!(head, r#"{"level":"error""#);
    let tail = rest.split_once(",\"msg\":").unwrap().1;
    assert_eq!(tail, r#""flush failed","tenant":"a\"b\\c\n","spans":3,"nan":"NaN"}"#);
}

#[test]
fn span_fields_follow_and_inner_ones_win() {
    let lines = tails(|| {
        let outer = info_span!("outer", tenant = "a", block = 1, late = tracing::field::Empty);
        let _outer = outer.enter();
        let _inner = info_span!("inner", block = 2).entered();
        outer.record("late", "x");
        outer.record("tenant", "b");
        info!(tenant = "c", "one");
        info!("two");
    });
    assert_eq!(lines, ["one tenant=c block=2 late=x", "two block=2 tenant=b late=x"]);
}

#[test]
fn error_is_logged_with_its_sources() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot flush")]
    struct Outer(#[source] io::Error);
    let error = Outer(io::Error::other("disk full"));
    let lines = tails(|| warn!(error = &error as &dyn std::error::Error, "flush failed"));
    assert_eq!(lines, [r#""flush failed" error="cannot flush: disk full""#]);
}

#[test]
fn level_bounds_our_events_and_info_those_of_others() {
    let log = || {
        debug!("ours");
        info!("ours");
        debug!(target: "h2::codec", "theirs");
        info!(target: "h2::codec", "theirs");
        error!(target: "h2::codec", "theirs");
    };
    let levels = |level| {
        let level_of = |line: &String| line.split(' ').next().unwrap().to_owned();
        lines(LogFormat::Logfmt, level, log).iter().map(level_of).collect::<Vec<_>>()
    };
    assert_eq!(levels(LogLevel::Debug), ["level=debug", "level=info", "level=info", "level=error"]);
    assert_eq!(levels(LogLevel::Info), ["level=info", "level=info", "level=error"]);
    assert_eq!(levels(LogLevel::Warn), ["level=error"]);
}

#[test]
fn warning_keeps_its_span_fields_at_level_warn() {
    let lines = lines(LogFormat::Logfmt, LogLevel::Warn, || {
        let _span = info_span!("push", tenant = "a").entered();
        info!("hidden");
        warn!("shown");
    });
    assert_eq!(lines.len(), 1);
    assert!(lines[0].ends_with("msg=shown tenant=a"), "{}", lines[0]);
}

#[test]
fn levels_and_formats_parse_as_configured() {
    assert_eq!("warn".parse(), Ok(LogLevel::Warn));
    assert_eq!("json".parse(), Ok(LogFormat::Json));
    let error = "Info".parse::<LogLevel>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "unrecognized log level \"Info\": expecting debug, info, warn or error"
    );
    for level in LogLevel::ALL {
        assert_eq!(level.as_str().parse(), Ok(level));
        assert_eq!(LogLevel::ALL[usize::from(level as u8)], level);
    }
    let error = "text".parse::<LogFormat>().unwrap_err();
    assert_eq!(error.to_string(), "unrecognized log format \"text\"");
    assert_eq!(LogFormat::default(), LogFormat::Logfmt);
    assert_eq!(LogLevel::default(), LogLevel::Info);
}

#[test]
fn limited_call_site_falls_silent_and_counts() {
    let dropped = || {
        let help = "Log lines not written because their call site logs too often.";
        crate::metrics::Registry::global().counter("tempo_dropped_log_lines_total", help).get()
    };
    let before = dropped();
    let lines = tails(|| {
        for spans in 0..25 {
            log_limited!(warn, spans, "spans refused");
        }
    });
    // A window may end in between; then it begins again and says how many it left out.
    assert!((10..=20).contains(&lines.len()), "{}", lines.len());
    assert_eq!(lines[0], "\"spans refused\" spans=0");
    assert!(dropped() - before >= 25 - lines.len() as u64);
}

#[test]
fn call_site_of_another_crate_falls_silent_and_ours_does_not() {
    let count = |name: &str| {
        let lines = tails(|| {
            for number in 0..25 {
                warn!(number, "ours");
                warn!(target: "h2::proto", number, "reset");
                error!(target: "h2::proto", number, "rare");
            }
        });
        lines.iter().filter(|line| line.starts_with(name)).count()
    };
    // A window may end in between.
    assert!((10..=20).contains(&count("reset")));
    assert!((10..=20).contains(&count("rare")), "each call site has its own allowance");
    assert_eq!(count("ours"), 25);
}

#[test]
fn second_initialization_is_refused() {
    init_logging(LogFormat::Logfmt, LogLevel::Error).unwrap();
    let second = init_logging(LogFormat::Json, LogLevel::Info);
    assert_eq!(second, Err(LoggingError::AlreadyInitialized));
    assert_eq!(log_level(), LogLevel::Error);
    set_log_level(LogLevel::Debug);
    assert_eq!(log_level(), LogLevel::Debug);
    info!("written by the thread for it");
    assert!(STDERR.wait(Duration::from_secs(60)));
}
