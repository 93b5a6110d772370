//! The commands.

mod analyse;
mod api;
mod block;
mod blocks;
mod change;
mod rewrite;
mod tenants;
mod traces;
mod verify;

use clap::CommandFactory as _;

use crate::Outcome;
use crate::arguments::{Arguments, Command};
use crate::bucket;
use crate::error::Result;
use crate::output::Output;

/// Runs what the arguments ask for.
pub(crate) async fn run(arguments: Arguments) -> Result<Outcome> {
    let Arguments { global, command } = arguments;
    let output = Output::new(global.json);
    let bucket = || bucket::open(&global);
    match command {
        Command::Tenants => tenants::run(&bucket()?, &output).await?,
        Command::Blocks(command) => blocks::run(&bucket()?, &command, &output).await?,
        Command::Block(command) => block::run(&bucket()?, &command, &output).await?,
        Command::Verify(command) => return verify::run(&bucket()?, &command, &output).await,
        Command::Trace(command) => traces::trace(bucket()?, &command, &output).await?,
        Command::Query(command) => traces::query(bucket()?, &command, &output).await?,
        Command::Analyse(command) => analyse::run(&bucket()?, &command, &output).await?,
        Command::Convert(command) => {
            let blocks = [command.block];
            rewrite::run(&bucket()?, &command.tenant, &blocks, &command.form, &output).await?;
        }
        Command::Rewrite(command) => {
            let blocks = &command.blocks;
            rewrite::run(&bucket()?, &command.tenant, blocks, &command.form, &output).await?;
        }
        Command::Delete(command) => change::delete(&bucket()?, &command, &output).await?,
        Command::Redact(command) => change::redact(&bucket()?, &command, &output).await?,
        Command::Api(command) => api::run(command, &output).await?,
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "tactusctl", &mut script);
            output.text(&String::from_utf8_lossy(&script))?;
        }
    }
    Ok(Outcome::Fine)
}
