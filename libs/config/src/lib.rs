//! The configuration: YAML file, environment and flags, typed and with defaults.
//!
//! Every key of every section has a field, even if its component does not exist here, so that a file that works for
//! Tempo loads here. The table `unsupported` lists the keys that have no effect yet. This crate knows no component, and
//! depends on nothing else in the workspace.
//!
//! Loading takes these steps: scan the arguments for the file, expand and parse it into a tree, convert old spellings
//! in the tree, read it over the defaults, apply the flags, note suspicious values, adjust for the target, validate.
//! Reading collects every problem with its line.

pub mod address;
mod check;
mod differences;
mod duration;
mod expand;
mod field;
mod flags;
mod idle;
mod jaeger_environment;
mod load;
mod migrate;
mod note;
mod per_tenant;
mod rewrite;
pub mod sections;
mod show;
mod suggest;
pub mod target;
mod unsupported;
mod validate;
mod variables;
mod yaml;

pub use duration::{DurationError, GoDuration, PromDuration, parse_go, parse_prometheus};
pub use expand::{ExpandError, expand};
pub use field::{Opaque, Secret, UnitSize, without_passwords};
pub use flags::{has_flag, parse_bool};
pub use load::{Error, Loaded, from_yaml, load, load_as};
pub use migrate::{
    Environment, Finding, MigrateError, Migration, migrate_config, migrate_overrides,
};
pub use note::Verdict;
pub use per_tenant::{PerTenantError, PerTenantFile, PerTenantOverrides, check_limits};
pub use sections::root::Config;
pub use show::{defaults_yaml, limits_yaml, to_yaml, to_yaml_diff};
pub use validate::{
    MAX_BLOOM_SHARD_BYTES, PROCESSORS, increasing_buckets, is_trace_id_label, label_of_attribute,
    sanitized_label,
};
pub use variables::warnings as variable_warnings;
pub use yaml::{
    Node as YamlNode, SyntaxError as YamlError, Value, emit as to_yaml_document,
    parse_alone as parse_yaml, read as read_yaml_document,
};
