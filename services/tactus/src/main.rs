//! The `tactus` binary: every service in one process.
//!
//! It reads the configuration, gives each service its settings, hands services to each other through the traits
//! of the protocol, and stops them in order. It holds no logic of its own.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the command line is its interface")]

mod app;
mod banner;
mod memory;
mod operational;
mod overrides;
mod polling;
mod settings;

use std::process::ExitCode;

use tactus_telemetry::error_text;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Freed pages go back to the system within a second: memory that a burst of spans needed is not kept for the next.
// SAFETY: the allocator reads this symbol as a pointer to a C string, once, before main; a slice begins with its pointer.
#[allow(unsafe_code, reason = "the allocator's own way of configuration at link time")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

/// Product version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let loaded = match tactus_config::load(&arguments, |name| std::env::var(name).ok()) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(error.exit_code());
        }
    };
    if let Some(help) = &loaded.print_help {
        print!("{help}");
        return ExitCode::SUCCESS;
    }
    if loaded.print_version {
        println!("tactus, version {VERSION}");
        return ExitCode::SUCCESS;
    }
    if loaded.verify_only {
        loaded.warnings.iter().for_each(|warning| eprintln!("{warning}"));
        return ExitCode::from(loaded.verify_exit_code());
    }
    match run(loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tactus cannot start: {}", error_text(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(loaded: tactus_config::Loaded) -> Result<(), app::Error> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return Err(app::Error::Setup("a TLS provider is installed already".to_owned()));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("tactus")
        .build()
        .map_err(|error| app::Error::Setup(format!("start worker threads: {error}")))?;
    if let Some(url) = &loaded.health_probe {
        return runtime.block_on(app::probe(url));
    }
    let format = loaded.config.server.log_format.parse();
    let level = loaded.config.server.log_level.parse();
    format
        .and_then(|format| tactus_telemetry::init_logging(format, level?))
        .map_err(|error| app::Error::Setup(error.to_string()))?;
    runtime.block_on(app::run(loaded))
}
