//! From arguments to a checked configuration.

use crate::expand::ExpandError;
use crate::field::{Field, Reader};
use crate::flags::{Given, Target};
use crate::rewrite::Layout;
use crate::sections::root::Config;
use crate::yaml::{Content, Node};
use crate::{
    check, differences, expand, flags, jaeger_environment, rewrite, target, unsupported, validate,
    variables, yaml,
};

/// A configuration and what the process was asked to do with it.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The configuration in effect: file, then flags, then what the target forces.
    pub config: Config,
    /// Check only: exit with `verify_exit_code` instead of starting.
    pub verify_only: bool,
    /// Print the version and exit 0.
    pub print_version: bool,
    /// Print this text and exit 0.
    pub print_help: Option<String>,
    /// Ask this URL and exit 0 if it answers 200, else 1.
    pub health_probe: Option<String>,
    /// No file, and no flag about storage or a cluster: all listens on loopback and the data is
    /// under `./tactus-data`, or where the environment says.
    pub configless: bool,
    /// Variables are expanded in the file of tenants' limits as well.
    pub expand_env: bool,
    /// To be logged at start, one line each: suspect values first, then keys without effect.
    pub warnings: Vec<String>,
    /// How many of the warnings, from the first, are about suspect values.
    pub suspect: usize,
}

impl Loaded {
    /// The exit code of `-config.verify`: 1 when a value is suspect, as scripts rely on. Keys that
    /// merely have no effect do not count, or no file of a larger installation would pass.
    pub fn verify_exit_code(&self) -> u8 {
        u8::from(self.suspect > 0)
    }
}

/// Reads arguments (without the program's name), the file they name, and the environment.
///
/// Precedence, weakest first: defaults, file, flags. Errors: `Error::Flag` for exit code 2, all
/// others for 1; `Error::exit_code` tells.
pub fn load(args: &[String], env: impl Fn(&str) -> Option<String>) -> Result<Loaded, Error> {
    load_as(None, args, env)
}

/// As [`load`], for a program that is one service: its `target` is stronger than file and flags.
///
/// Errors: as for [`load`].
pub fn load_as(
    target: Option<&str>,
    args: &[String],
    env: impl Fn(&str) -> Option<String>,
) -> Result<Loaded, Error> {
    let expand_env = flags::scan(args, "config.expand-env").is_some_and(|v| flags::is_true(&v));
    let file = flags::scan(args, "config.file").filter(|path| !path.is_empty());
    let given = flags::parse(args).map_err(flag_error);
    if given.as_ref().is_ok_and(|(given, _)| on(given, "help") || on(given, "h")) {
        return Ok(Loaded { print_help: Some(flags::usage()), ..Loaded::default() });
    }
    let mut document = match &file {
        Some(path) => read_file(path, expand_env, &env)?,
        None => Document::default(),
    };
    let (mut given, left) = given?;
    given.extend(target.and_then(|target| Given::new("target", target)));
    document.warnings.extend(ignored_arguments(left));
    let configless = file.is_none() && !given.iter().any(decides_deployment);
    let config = &mut document.config;
    if configless {
        target::embedded(config, &env).map_err(invalid)?;
    }
    for flag in &given {
        flags::apply(config, flag).map_err(flag_error)?;
    }
    let health_probe = on(&given, "health").then(|| {
        let url = last(&given, "health.url").map(str::to_owned);
        url.unwrap_or_else(|| "http://localhost:3200/ready".to_owned())
    });
    let mut loaded =
        Loaded { print_version: on(&given, "version"), health_probe, ..Loaded::default() };
    // Neither needs a configuration that makes sense.
    if loaded.print_version || loaded.health_probe.is_some() {
        return Ok(loaded);
    }
    loaded.verify_only = flags::scan(args, "config.verify").is_some_and(|v| flags::is_true(&v))
        || on(&given, "verify-config");
    loaded.configless = configless;
    loaded.expand_env = expand_env;
    config.sampling.read_environment(&env).map_err(invalid)?;
    if !document.advertises_port {
        // What others see is where it listens, unless something in between changes that.
        config.memberlist.advertise_port = config.memberlist.bind_port;
    }
    document.warnings.extend(check::advice(config, document.asks_for_gossip));
    let idle = differences::without_effect(&config.overrides.defaults, "overrides.defaults");
    document.warnings.extend(idle.map(|idle| format!("{}: {}", idle.key, idle.text)));
    loaded.warnings = check::findings(config, document.flat_overrides);
    loaded.warnings.append(&mut document.unitless);
    loaded.suspect = loaded.warnings.len();
    loaded.warnings.append(&mut document.warnings);
    loaded.warnings.extend(unsupported::warnings(config));
    target::for_target(config, &hostname(&env), document.asks_for_gossip);
    let base_path = &mut config.query_frontend.jaeger.http.base_path;
    jaeger_environment::apply(&mut config.distributor.receivers, base_path, &env)
        .map_err(invalid)?;
    if let Err(reason) = validate::validate(config) {
        return Err(Error::Invalid { reason, warnings: loaded.warnings });
    }
    loaded.config = document.config;
    Ok(loaded)
}

/// Reads a configuration from YAML text over the defaults, without flags, environment, adjustments
/// or validation.
///
/// Errors: the report with all problems and their lines.
pub fn from_yaml(text: &str) -> Result<Config, String> {
    parse(text).map(|document| document.config)
}

fn invalid(reason: String) -> Error {
    Error::Invalid { reason, warnings: Vec::new() }
}

/// What a file says.
#[derive(Default)]
pub(crate) struct Document {
    pub(crate) config: Config,
    pub(crate) warnings: Vec<String>,
    /// Durations that are hardly what was meant.
    pub(crate) unitless: Vec<String>,
    pub(crate) flat_overrides: bool,
    /// The ring of ingesters is kept by gossip, and not only because that is the default.
    pub(crate) asks_for_gossip: bool,
    /// `memberlist.advertise_port` is set, perhaps to its default.
    pub(crate) advertises_port: bool,
}

fn read_file(
    path: &str,
    expand_env: bool,
    env: &impl Fn(&str) -> Option<String>,
) -> Result<Document, Error> {
    let owned = || path.to_owned();
    let mut text =
        std::fs::read_to_string(path).map_err(|source| Error::Read { path: owned(), source })?;
    let mut of_variables = variables::warnings(&text, expand_env, env);
    if expand_env {
        text =
            expand::expand(&text, env).map_err(|source| Error::Expand { path: owned(), source })?;
    }
    // A variable may be why the text is no YAML, or a value has another type.
    let mut document = parse(&text).map_err(|cause| {
        let cause = [&[cause][..], &of_variables].concat().join("\n  ");
        Error::Parse { path: owned(), cause }
    })?;
    document.warnings.append(&mut of_variables);
    Ok(document)
}

pub(crate) fn parse(text: &str) -> Result<Document, String> {
    let mut root = yaml::parse(text).map_err(|error| error.to_string())?;
    let mut document = Document::default();
    if yaml::has_second_document(text) {
        document.warnings.push(yaml::SECOND_DOCUMENT.to_owned());
    }
    let mut reader = Reader::default();
    let mut rewritten = Vec::new();
    rewrite::rewrite(&mut root, &mut rewritten);
    let layout = rewrite::rewrite_main(&mut root, &mut reader.problems, &mut rewritten);
    // The one problem of the section is noted already.
    if matches!(layout, Layout::Broken(_)) {
        rewrite::take(&mut root, &["overrides"]);
    }
    document.flat_overrides = matches!(layout, Layout::Flat);
    document.warnings.extend(rewritten.into_iter().filter_map(|key| key.warning));
    document.asks_for_gossip = asks_for_gossip(&root);
    let port = root.get("memberlist").and_then(|section| section.get("advertise_port"));
    document.advertises_port = port.is_some_and(|port| !port.is_null());
    if !root.is_null() {
        document.config.read(&root, &mut reader);
    }
    document.unitless.extend(reader.unitless());
    document.warnings.extend(reader.doubtful());
    rewrite::name_other_places(&mut reader.problems);
    match reader.report() {
        Some(report) => Err(report),
        None => Ok(document),
    }
}

/// True if the file itself puts the ring of ingesters into gossip: several processes of target `all` are a cluster then.
pub(crate) fn asks_for_gossip(root: &Node) -> bool {
    let path = ["ingester", "lifecycler", "ring", "kvstore", "store"];
    let store = path.iter().try_fold(root, |node, key| node.get(key));
    matches!(store.map(|node| &node.content), Some(Content::Scalar(store)) if store.text == "memberlist")
}

/// Flags that mean an installation rather than a look at the program on a desk: with one of them,
/// nothing is assumed about storage and addresses.
fn decides_deployment(given: &Given) -> bool {
    match &given.flag.target {
        Target::Key(path) if path == "target" => !target::single_binary(&given.value),
        Target::Key(path) => ["storage.", "memberlist.", "querier.frontend_worker."]
            .iter()
            .any(|section| path.starts_with(section)),
        Target::Process(..) | Target::Ignored => false,
    }
}

/// What follows the first argument that is no flag is ignored, as Go does; somebody may have meant it.
fn ignored_arguments(left: &[String]) -> Option<String> {
    let first = left.first()?;
    let shown: String = first.chars().take(60).collect();
    Some(match left.len() {
        1 => format!("argument {shown:?} is not a flag and is ignored"),
        _ => format!("argument {shown:?} is not a flag: it and the arguments after it are ignored"),
    })
}

fn flag_error(text: String) -> Error {
    Error::Flag { text, usage: flags::usage() }
}

fn on(given: &[Given], name: &str) -> bool {
    last(given, name).is_some_and(flags::is_true)
}

fn last<'a>(given: &'a [Given], name: &str) -> Option<&'a str> {
    given.iter().rev().find(|given| given.flag.name == name).map(|given| given.value.as_str())
}

/// The host's name: from the environment, else from the system.
fn hostname(env: &impl Fn(&str) -> Option<String>) -> String {
    env("HOSTNAME")
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// Why a configuration cannot be used. `Display` is the text for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A flag does not exist or has a bad value; `usage` lists the flags.
    #[error("{text}\n{usage}")]
    Flag {
        /// What is wrong, on one line.
        text: String,
        /// The list of flags.
        usage: String,
    },
    /// The file cannot be read.
    #[error("failed parsing config: failed to read configFile {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file's variables cannot be expanded.
    #[error("failed parsing config: failed to expand env vars from configFile {path}: {source}")]
    Expand {
        /// The file.
        path: String,
        /// What is wrong.
        source: ExpandError,
    },
    /// The file is not YAML, or has unknown keys, wrong types, keys that stand twice.
    #[error("failed parsing config: failed to parse configFile {path}: {cause}")]
    Parse {
        /// The file.
        path: String,
        /// All that was found, with lines.
        cause: String,
    },
    /// The values do not make sense together or name something that does not exist.
    #[error("invalid configuration: {reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
        /// What there is to warn of, which may be why.
        warnings: Vec<String>,
    },
}

impl Error {
    /// The exit code that scripts expect: 2 for flags, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Flag { .. } => 2,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests;
