//! Runs a process, from the command line to its end.

use std::{
    io::{IsTerminal as _, stdin},
    process::ExitCode,
    time::Duration,
};

use tactus_config::Loaded;
use tactus_server::operational::ServiceState;
use tactus_telemetry::{error_text, flush_log, metrics::Registry, self_tracing};
use tactus_work::{JOBS_PER_SLOT, MOST_NEWCOMERS};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Process, Program, VERSION,
    banner::{say, tell},
    listeners::Listeners,
    operational, preflight, runtime_metrics,
};

/// How long the end of the process waits for threads that still do something, when all that must be done is. It waits as long
/// for parts that are not built yet.
const LAST_WAIT: Duration = Duration::from_secs(5);

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Freed pages go back to the system within a second: memory that a burst of spans needed is not kept for the next. Each
/// arena keeps such pages, so there is one a processor. Ingest has one more, with a longer time (`libs/allocator`).
// SAFETY: the allocator reads this symbol as a pointer to a C string, once, before main; a slice begins with its pointer.
#[allow(unsafe_code, reason = "the allocator's own way of configuration at link time")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub(crate) static MALLOC_CONF: &[u8] =
    b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,narenas_ratio:1\0";

/// Threads for what else may block: queries of an ingester, helpers of jobs, files, names, and tenants that have one job
/// beyond the total of a querier, an ingester or a query-frontend.
const OTHER_BLOCKING_THREADS: usize = 512 + 3 * MOST_NEWCOMERS;

/// Runs a process until it is told to stop.
pub fn main(program: Program) -> ExitCode {
    // What the wall clock says now is what later jumps are told by.
    tactus_clock::now();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let environment = |name: &str| std::env::var(name).ok();
    let loaded = match tactus_config::load_as(program.target, &arguments, environment) {
        Ok(loaded) => loaded,
        Err(error) => {
            if let tactus_config::Error::Invalid { warnings, .. } = &error {
                warnings.iter().cloned().for_each(tell);
            }
            tell(format!("{error}"));
            return ExitCode::from(error.exit_code());
        }
    };
    if let Some(help) = &loaded.print_help {
        tell(help.clone());
        return ExitCode::SUCCESS;
    }
    if loaded.print_version {
        say(&operational::version_text());
        return ExitCode::SUCCESS;
    }
    if loaded.verify_only {
        loaded.warnings.iter().cloned().for_each(tell);
        let warnings = match in_runtime(preflight::verify(&loaded, program)) {
            Err(error) => {
                tell(format!("tactus cannot start: {}", error_text(&error)));
                return ExitCode::FAILURE;
            }
            Ok(warnings) => warnings,
        };
        let code = if warnings.mistakes.is_empty() { loaded.verify_exit_code() } else { 1 };
        warnings.mistakes.into_iter().chain(warnings.advice).for_each(tell);
        if code == 0 {
            say("config ok\n");
        }
        return ExitCode::from(code);
    }
    if let Some(url) = &loaded.health_probe {
        return match in_runtime(probe(url)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tell(format!("tactus is not ready: {}", error_text(&error)));
                ExitCode::FAILURE
            }
        };
    }
    let ended = start(&loaded, program);
    flush_log();
    match ended {
        Ok(code) => code,
        Err(error) => {
            tell(format!("tactus cannot start: {}", error_text(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Runs something to its end on threads that do nothing else.
fn in_runtime<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    runtime(0)?.block_on(work)
}

/// `slots`: how many jobs a querier runs of one tenant. Each job keeps a thread while it waits for storage: one without a
/// thread would never give its turn back.
fn runtime(slots: usize) -> Result<Runtime, Error> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return Err(Error::Setup("a TLS provider is installed already".to_owned()));
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("tactus")
        .max_blocking_threads(
            slots.saturating_mul(JOBS_PER_SLOT).saturating_add(OTHER_BLOCKING_THREADS),
        )
        .build()
        .map_err(|error| Error::Setup(format!("start worker threads: {error}")))
}

fn start(loaded: &Loaded, program: Program) -> Result<ExitCode, Error> {
    let runtime = runtime(loaded.config.querier.max_concurrent_queries)?;
    let format = loaded.config.server.log_format.parse();
    let level = loaded.config.server.log_level.parse();
    let target = &loaded.config.target;
    let tracing =
        self_tracing::Settings::from_env(target, VERSION, |name| std::env::var(name).ok());
    let (layer, exporter) = match &tracing {
        Ok(Some(settings)) => {
            let (layer, exporter) = self_tracing::start(settings.clone(), Registry::global());
            (Some(layer), Some(exporter))
        }
        Ok(None) | Err(_) => (None, None),
    };
    format
        .and_then(|format| tactus_telemetry::init_logging_and_tracing(format, level?, layer))
        .map_err(|error| Error::Setup(error.to_string()))?;
    if let Err(error) = tactus_allocator::set_up() {
        tracing::warn!(%error, "ingest has no arena of its own in the allocator, which costs processor time");
    }
    if let Err(error) = tracing {
        tracing::warn!(error = error_text(&error), "self-tracing is off");
    }
    runtime_metrics::register(Registry::global(), runtime.handle().clone());
    let result = runtime.block_on(async {
        let stop = CancellationToken::new();
        let exporting = exporter.map(|exporter| tokio::spawn(exporter.run(stop.clone())));
        let result = run(loaded, program).await;
        stop.cancel();
        // The last spans are about the end.
        if let Some(exporting) = exporting {
            let _ = exporting.await;
        }
        result
    });
    // A thread may wait for a disk that never answers.
    runtime.shutdown_timeout(LAST_WAIT);
    result
}

/// The exit code: a failure if the process could not do all that it had to before its end, which the log tells.
async fn run(loaded: &Loaded, program: Program) -> Result<ExitCode, Error> {
    let (suspect, others) = loaded.warnings.split_at(loaded.suspect);
    if !suspect.is_empty() {
        tracing::warn!("-- CONFIGURATION WARNINGS --");
    }
    for warning in suspect {
        let (message, explain) = warning.split_once(": ").unwrap_or((warning, ""));
        tracing::warn!(explain, "{message}");
    }
    for warning in others {
        tracing::warn!("{warning}");
    }
    let stop = CancellationToken::new();
    Signals::install()?.cancel(stop.clone());
    preflight::refuse_taken_ports(&loaded.config, program).await?;
    let starting = Box::pin(Process::start(loaded, program.check_limits, stop.clone()));
    let Some(process) = stop.run_until_cancelled(starting).await else {
        tracing::info!("stopping");
        return Ok(ExitCode::SUCCESS);
    };
    let process = process?;
    let failed = process.failed().clone();
    let exit_code = || if failed.is_set() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    let built = tokio::select! {
        biased;
        built = (program.build)(&process) => Some(built?),
        // Parts that are built stop in order: an ingester then flushes what was on its disk. But a file may be on one that hangs.
        () = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_WAIT).await;
        } => None,
    };
    let Some(mut parts) = built else {
        tracing::warn!("stopping before all parts are there: one waits for a file or a server");
        // The tasks of a part may end only when it is told to stop.
        let _ = tokio::time::timeout(LAST_WAIT, process.end()).await;
        return Ok(exit_code());
    };
    for part in &parts {
        process.states().set(part.name, ServiceState::Starting);
    }
    let listeners = Listeners::start(&process, &mut parts).await?;
    for part in &mut parts {
        if let Some(start) = part.start.take() {
            // Who is told to end meanwhile waits for no more of this: parts stop as well where they did not start.
            let Some(started) = stop.run_until_cancelled(start).await else { continue };
            started?;
        }
        process.states().set(part.name, ServiceState::Running);
    }
    let was_ready = !stop.is_cancelled();
    if was_ready {
        process.states().set("server", ServiceState::Running);
        tracing::info!(address = %listeners.http_address(), version = VERSION, target = process.config().target, "tactus is ready");
        process.announce(listeners.http_address());
    }
    stop.cancelled().await;
    tracing::info!("stopping");
    process.states().stop();
    listeners.not_serving();
    if was_ready {
        // Who sends requests here has to notice. To a process that was not ready, nobody does.
        tokio::time::sleep(process.config().shutdown_delay.as_std()).await;
    }
    for part in parts.iter_mut().rev() {
        process.states().set(part.name, ServiceState::Stopping);
        if let Some(stop) = part.stop.take() {
            stop.await;
        }
        process.states().set(part.name, ServiceState::Terminated);
    }
    listeners.stop().await;
    process.end().await;
    Ok(exit_code())
}

/// As a shell tells that a signal ended a process: this plus the signal's number.
const KILLED_BY_SIGNAL: i32 = 128;

/// SIGTERM and SIGINT, caught from the start on: a signal that comes before the ports listen stops in order, too. SIGQUIT,
/// which asks other servers for the stacks of their threads, and SIGHUP, on which others read their configuration again,
/// are ignored: they would end the process at once, and a supervisor takes an end by SIGHUP for a wanted one. But a process
/// in a terminal stops when the terminal is closed.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hang_up: Signal,
    is_in_terminal: bool,
}

/// What the log says of SIGHUP.
const HANG_UP_IS_IGNORED: &str = "SIGHUP does nothing here: certificates, users and limits of tenants are read again by \
     themselves, all else needs a restart";

impl Signals {
    fn install() -> Result<Self, Error> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hang_up: signal(SignalKind::hangup())?,
            is_in_terminal: stdin().is_terminal(),
        })
    }

    /// Cancels `stop` at the first signal. The next one, or the first after `stop` was cancelled, ends the process at
    /// once: what is not in object storage is on local disk.
    fn cancel(mut self, stop: CancellationToken) {
        tokio::spawn(async move {
            tokio::select! {
                _ = self.next() => stop.cancel(),
                () = stop.cancelled() => {}
            }
            let number = self.next().await;
            tracing::warn!("second signal: not waiting for flushes");
            flush_log();
            std::process::exit(KILLED_BY_SIGNAL + number.as_raw_value());
        });
    }

    /// The next signal that stops the process.
    async fn next(&mut self) -> SignalKind {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return SignalKind::terminate(),
                _ = self.interrupt.recv() => return SignalKind::interrupt(),
                _ = self.quit.recv() => tracing::info!("SIGQUIT does nothing here: SIGTERM stops the process"),
                _ = self.hang_up.recv() => {
                    // Once: the shell and the system may each send one when a terminal is closed.
                    if std::mem::take(&mut self.is_in_terminal) {
                        return SignalKind::hangup();
                    }
                    tracing::info!("{HANG_UP_IS_IGNORED}");
                }
            }
        }
    }
}

/// Asks a running process whether it is ready: a container's health check. Errors unless `url` answers 200.
async fn probe(url: &str) -> Result<(), Error> {
    let invalid = || Error::Setup(format!("-health.url: not an http URL: {url}"));
    let rest = url.strip_prefix("http://").ok_or_else(invalid)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(authority).await?;
    let request = format!("GET /{path} HTTP/1.0\r\nHost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    if answer.ends_with(b"200") {
        return Ok(());
    }
    Err(Error::Setup(format!("{url} answers {}", String::from_utf8_lossy(&answer))))
}
