//! A program: the services that its process can run, and their rules.

use futures_util::future::BoxFuture;
use tactus_config::Config;

use crate::{CheckLimits, Error, Part, PlannedPort, Process};

/// Builds the parts of a process, in the order in which they start; they stop in the reverse one.
pub type Build = for<'a> fn(&'a Process) -> BoxFuture<'a, Result<Vec<Part>, Error>>;

/// Refuses what [`Build`] would refuse of a configuration, without opening anything.
pub type Check = for<'a> fn(&'a Process) -> BoxFuture<'a, Result<(), Error>>;

/// The ports of the parts that a process cannot do without. Errors: settings of a port.
pub type PlanPorts = fn(&Config) -> Result<Vec<PlannedPort>, Error>;

/// What a program consists of.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The target that it is for, whatever the configuration says.
    pub target: Option<&'static str>,
    /// Its parts.
    pub build: Build,
    /// What its parts refuse of a configuration.
    pub check: Check,
    /// The ports of its parts.
    pub ports: PlanPorts,
    /// Its rules on limits.
    pub check_limits: CheckLimits,
}
