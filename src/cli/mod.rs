//! The command line: a client of the library and of a running server.
//!
//! Invariant: results go to stdout, one record a line; notes, progress and errors go to stderr.

mod client;
mod commands;
pub mod interrupt;
pub mod output;
pub mod process;
mod rows;
mod run;

use anyhow::Context;
use clap::{Parser, Subcommand};

use commands::{
    audit, demo, evaluate, feedback, import, init, limits, predict, registry, replay, retract,
    serve, status, stream, verify,
};

/// An inference server whose models keep learning after deployment.
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Draft a model's description from a file of rows
    Init(init::Args),
    /// Check that a file of trained weights fits a model, and put it beside its description
    Import(import::Args),
    /// Serve every model of a folder
    Serve(serve::Args),
    /// Ask a model for its answers
    Predict(predict::Args),
    /// Send a model what the world said of its answers
    Feedback(feedback::Args),
    /// Predict each row of a file and feed back its target, through a running server
    Stream(stream::Args),
    /// Predict and then learn each row of a file, or value logged decisions, without a server
    Evaluate(evaluate::Args),
    /// Show what is served and how it does
    Status(status::Args),
    /// List a model's versions
    Versions(registry::VersionsArgs),
    /// Show all that is known of one version
    Show(registry::ShowArgs),
    /// Make a version of a model as it is now
    Checkpoint(registry::CheckpointArgs),
    /// Bring back what a model knew at a version, as a new version
    Restore(registry::RestoreArgs),
    /// Show or change the bounds of a model's journal, also while it is full
    Limits(limits::Args),
    /// Take feedback back: the model becomes the one that never saw it
    Retract(retract::Args),
    /// Answer a prediction again from the journal, and say what shaped it
    Audit(audit::Args),
    /// Apply a journal again, to verify it or to ask what if
    Replay(replay::Args),
    /// Check every journal and checkpoint on disk
    Verify(verify::Args),
    /// Show the whole loop on a generated drifting stream; nothing to prepare
    Demo(demo::Args),
}

impl Cli {
    /// Runs the command to its end.
    ///
    /// # Errors
    /// What went wrong, as a chain from what was done to why it failed.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Init(args) => init::run(args),
            Command::Import(args) => import::run(args),
            Command::Serve(args) => serve::run(args),
            Command::Predict(args) => asking(predict::run(args)),
            Command::Feedback(args) => asking(feedback::run(args)),
            Command::Stream(args) => asking(stream::run(args)),
            Command::Evaluate(args) => evaluate::run(args),
            Command::Status(args) => asking(status::run(args)),
            Command::Versions(args) => asking(registry::versions(args)),
            Command::Show(args) => asking(registry::show(args)),
            Command::Checkpoint(args) => asking(registry::checkpoint(args)),
            Command::Restore(args) => asking(registry::restore(args)),
            Command::Limits(args) => asking(limits::run(args)),
            Command::Retract(args) => asking(retract::run(args)),
            Command::Audit(args) => asking(audit::run(args)),
            Command::Replay(args) => replay::run(args),
            Command::Verify(args) => verify::run(args),
            Command::Demo(args) => demo::run(args),
        }
    }
}

/// Runs a command that asks a server; it waits more than it works, so one thread is enough.
fn asking(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(command)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_each_command_has_an_example() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string);
            assert!(
                help.is_some_and(|help| help.contains("perennial ")),
                "{}",
                command.get_name()
            );
        }
    }
}
