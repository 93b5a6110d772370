//! The commands.

mod analyse;
mod auth;
mod block;
mod blocks;
mod change;
mod check;
mod migrate;
mod rewrite;
mod tenants;
mod traces;
mod verify;

use crate::Outcome;
use crate::arguments::{Arguments, Command, Convert, Rewrite, definition};
use crate::bucket;
use crate::error::Result;
use crate::output::Output;

/// Runs what the arguments ask for.
pub(crate) async fn run(arguments: Arguments) -> Result<Outcome> {
    let Arguments { global, command } = arguments;
    let output = Output::new(global.json);
    let bucket = async || bucket::open(&global).await;
    let config = || bucket::configuration(&global);
    let write_anew = async |command: Rewrite| {
        let config = config()?;
        rewrite::run(&bucket().await?, &command, config.as_ref(), &output).await
    };
    match command {
        Command::Tenants => tenants::run(&bucket().await?, &output).await?,
        Command::Blocks(command) => blocks::run(&bucket().await?, &command, &output).await?,
        Command::Block(command) => block::run(&bucket().await?, &command, &output).await?,
        Command::Verify(command) => return verify::run(&bucket().await?, &command, &output).await,
        Command::Trace(command) => traces::trace(bucket().await?, &command, &output).await?,
        Command::Query(command) => traces::query(bucket().await?, &command, &output).await?,
        Command::Analyse(command) => analyse::run(&bucket().await?, &command, &output).await?,
        Command::Convert(Convert { tenant, block, form }) => {
            Box::pin(write_anew(Rewrite { tenant, blocks: vec![block], form })).await?;
        }
        Command::Rewrite(command) => Box::pin(write_anew(command)).await?,
        Command::Delete(command) => {
            change::delete(&bucket().await?, &command, config()?.as_ref(), &output).await?;
        }
        Command::Redact(command) => {
            change::redact(&bucket().await?, &command, config()?.as_ref(), &output).await?;
        }
        Command::Api(command) => traces::api(command, &output).await?,
        Command::Check(command) => return check::run(&command, &output).await,
        Command::Auth(command) => auth::run(&command, &output)?,
        Command::Migrate(command) => return migrate::run(&command, &global),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut definition(), "tactusctl", &mut script);
            output.text(&String::from_utf8_lossy(&script))?;
        }
    }
    Ok(Outcome::Fine)
}
