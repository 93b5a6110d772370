//! `check`: runs one round, or checks continuously.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use serde::Serialize;
use tactus_telemetry::init_logging;
use tactus_telemetry::metrics::Registry;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Outcome;
use crate::arguments::check::{Check, Continuously};
use crate::check::content::Derivation;
use crate::check::continuous::{Checker, Settings, now};
use crate::check::metrics::Metrics;
use crate::check::once::{Checked, round};
use crate::check::page;
use crate::check::server::Servers;
use crate::error::{Error, Result};
use crate::output::format::{clean, counted};
use crate::output::{Output, Table};
use crate::progress;

/// Most tenants, addresses of either kind, and ages. Each of them is a task, or a label of metrics.
const MOST: usize = 32;
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// Durations on the command line may be a hundred years, which would not limit the number of traces to remember.
const LONGEST_RETENTION: Duration = Duration::from_secs(400 * 24 * 3600);
/// Requests in flight at SIGTERM may take this long.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The result of one round.
#[derive(Serialize)]
struct Round {
    traces: usize,
    wrong: usize,
    checks: Vec<Checked>,
}

pub(super) async fn run(command: &Check, output: &Output) -> Result<Outcome> {
    let tenants = tenants(command)?;
    few("--push-url", command.push_urls.len())?;
    few("--query-url", command.query_urls.len())?;
    let servers = Servers::new(command)?;
    let metrics = Metrics::new(Registry::global());
    match command.continuous {
        true => continuously(&command.continuously, servers, metrics, tenants).await,
        false => once(command, &servers, &metrics, &tenants, output).await,
    }
}

type Tenant = Option<(String, HeaderValue)>;

/// Each tenant once. `None` is for a server without multitenancy.
fn tenants(command: &Check) -> Result<Vec<Tenant>> {
    few("--org-id", command.tenants.len())?;
    let names: BTreeSet<_> = command.tenants.iter().filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Ok(vec![None]);
    }
    let tenant = |name: &String| {
        let header = HeaderValue::from_str(name)
            .map_err(|_| Error::Usage(format!("--org-id: {name:?} cannot be a tenant")))?;
        Ok(Some((name.clone(), header)))
    };
    names.into_iter().map(tenant).collect()
}

fn few(flag: &str, count: usize) -> Result<()> {
    match count > MOST {
        true => Err(Error::Usage(format!("{flag}: at most {MOST}"))),
        false => Ok(()),
    }
}

async fn once(
    command: &Check,
    servers: &Servers,
    metrics: &Metrics,
    tenants: &[Tenant],
    output: &Output,
) -> Result<Outcome> {
    // The seed is unique, so that the round does not find other traces.
    let seed = format!("once-{:x}-{}", now().as_nanos(), std::process::id());
    let spinner = progress::spinner("writing and reading traces");
    let mut checks = Vec::new();
    for tenant in tenants {
        let (traces, within) = (command.once.traces, command.once.within);
        checks.extend(round(servers, metrics, &seed, tenant.as_ref(), traces, within).await?);
    }
    spinner.finish_and_clear();
    let wrong = checks.iter().filter(|check| check.problem.is_some()).count();
    let traces = tenants.len() * command.once.traces as usize;
    let round = Round { traces, wrong, checks };
    output.show(&round, || text(&round))?;
    Ok(if wrong == 0 { Outcome::Fine } else { Outcome::Damage })
}

fn text(round: &Round) -> String {
    let after = |seconds: Option<f64>| seconds.map(|seconds| format!("{seconds:.3} s"));
    let lines = Table::of(&round.checks)
        .left("trace", |check| check.trace_id.clone())
        .left("query", |check| check.query.label().to_owned())
        .right("spans", |check| check.spans.to_string())
        .right("found after", |check| after(check.found_after_seconds).unwrap_or_default())
        .left("problem", |check| check.problem.as_deref().map(clean).unwrap_or_default())
        .render();
    let (traces, checks) = (counted(round.traces, "trace"), counted(round.checks.len(), "check"));
    let wrong = round.wrong;
    format!("{lines}\n{traces}, {checks}, {wrong} without the right answer\n")
}

async fn continuously(
    command: &Continuously,
    servers: Servers,
    metrics: Metrics,
    tenants: Vec<Tenant>,
) -> Result<Outcome> {
    let ages = valid(command)?;
    let level = command.log_level.parse();
    command
        .log_format
        .parse()
        .and_then(|format| init_logging(format, level?))
        .map_err(|error| Error::Usage(error.to_string()))?;
    let signals = Signals::install()?;
    let stop = CancellationToken::new();
    let (ready, is_ready) = watch::channel(false);
    let closed = CancellationToken::new();
    let port = page::serve(&command.listen, is_ready, closed.clone()).await?;
    servers.push.iter().for_each(|server| metrics.announce(&server.url));
    let settings = Arc::new(Settings {
        servers,
        metrics,
        late_after: command.late_after,
        ages,
        retention: command.retention,
    });
    let tasks = TaskTracker::new();
    for tenant in tenants {
        let name = tenant.as_ref().map(|(name, _)| name.as_str());
        let derivation = Derivation::new(&command.seed, name, command.interval);
        Checker::new(Arc::clone(&settings), derivation, tenant, stop.clone()).start(&tasks);
    }
    tasks.close();
    let _ = ready.send(true);
    tracing::info!(address = %port.local_addr(), "checking");
    signals.wait().await;
    tracing::info!("stopping");
    let _ = ready.send(false);
    stop.cancel();
    if timeout(LAST_WORDS, tasks.wait()).await.is_err() {
        tracing::warn!("requests in flight are given up");
    }
    closed.cancel();
    port.stopped().await;
    Ok(Outcome::Fine)
}

/// Ages in order. Errors: settings that are invalid or contradict each other.
fn valid(command: &Continuously) -> Result<Vec<Duration>> {
    let usage = |text: String| Err(Error::Usage(text));
    if !(SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&command.interval)
        || !command.interval.subsec_nanos().is_multiple_of(1_000_000)
    {
        return usage(format!("--interval: whole milliseconds, {SHORTEST_INTERVAL:?} to 24h"));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if command.seed.is_empty() || command.seed.len() > 64 || !command.seed.bytes().all(plain) {
        return usage("--seed: 1 to 64 letters, digits, and -_.".to_owned());
    }
    if command.retention > LONGEST_RETENTION {
        return usage("--retention: at most 400d".to_owned());
    }
    few("--check-after", command.check_after.len())?;
    let ages: BTreeSet<Duration> = command.check_after.iter().copied().collect();
    if ages.iter().any(|&age| age + command.late_after >= command.retention) {
        return usage("--check-after: with --late-after added, not below --retention".to_owned());
    }
    Ok(ages.into_iter().collect())
}

/// SIGTERM and SIGINT. They are caught once this exists.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> Result<Self> {
        let failed = |error| Error::Setup(format!("catch signals: {error}"));
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
        })
    }

    async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_without_a_name_is_none() {
        let names = |org_id: &str| {
            let tenants = tenants(&Check::parsed(&["--org-id", org_id])).unwrap();
            tenants.into_iter().map(|tenant| tenant.map(|(name, _)| name)).collect::<Vec<_>>()
        };
        assert_eq!(names(""), [None]);
        assert_eq!(names(","), [None]);
        assert_eq!(names("b,,a,b"), [Some("a".to_owned()), Some("b".to_owned())]);
    }
}
