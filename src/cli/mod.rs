//! The command line: a client of the library and of a running server.
//!
//! Invariant: results go to stdout, one record a line; notes, progress and errors go to stderr.

mod client;
mod commands;
pub(crate) mod interrupt;
pub(crate) mod output;
#[cfg(test)]
#[path = "../../tests/it/support/passed_over.rs"]
mod passed_over;
pub(crate) mod process;
pub(crate) mod rows;
mod run;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};

use commands::{
    alias, audit, checkpoint, compare, config, demo, diff, evaluate, fate, feedback, import,
    incidents, init, limits, predict, promote, quarantine, reference, replay, restore, retract,
    retrain, serve, status, stream, token, verify, versions, watch,
};

/// An inference server whose models keep learning after deployment.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Subcommand)]
enum CliCommand {
    /// Draft a model description from a file of rows
    Init(init::Args),
    /// Check a file of trained weights against a model, and copy it beside the description
    Import(import::Args),
    /// Serve every model of a folder
    Serve(serve::Args),
    /// Make a token: the credential of a caller, with its scopes
    Token(token::Args),
    /// Request predictions from a model
    Predict(predict::Args),
    /// Send feedback for predictions
    Feedback(feedback::Args),
    /// Predict each row of a file and feed back its target, through a running server
    Stream(stream::Args),
    /// Predict and then learn each row of a file, or evaluate logged decisions, without a server
    Evaluate(evaluate::Args),
    /// Show the state of the served models
    Status(status::Args),
    /// Watch the events of the served models: promotions, rewinds, incidents, drift, restores
    Watch(watch::Args),
    /// List the versions of a model
    Versions(versions::Args),
    /// Show one version in full
    Show(versions::ShowArgs),
    /// Make a version of the current state of a model
    Checkpoint(checkpoint::Args),
    /// Restore an earlier version, as a new version
    Restore(restore::Args),
    /// Have a learner begin anew from the journal, beside live traffic
    Retrain(retrain::Args),
    /// Name a version, or list, move and remove the names
    Alias(alias::Args),
    /// Make the contender the champion
    Promote(promote::Args),
    /// Stop learning: examples are scored and not learned
    Freeze(promote::FreezeArgs),
    /// Learn again after a freeze
    Resume(promote::ResumeArgs),
    /// List the incidents of a model, acknowledge or close one
    Incidents(incidents::Args),
    /// List the feedback that waits in quarantine, release or discard it
    Quarantine(quarantine::Args),
    /// Show or change the bounds of a journal, also while it is full
    Limits(limits::Args),
    /// Retract feedback: the model becomes the one that never learned it
    Retract(retract::Args),
    /// Compute a prediction again from the journal, and show the feedback that shaped it
    Audit(audit::Args),
    /// Show the fate of a feedback event
    Fate(fate::Args),
    /// Apply a journal again, to verify it or under another description
    Replay(replay::Args),
    /// Compare a version with another state, on rows that neither has learned
    Compare(compare::Args),
    /// Show how two versions differ: weights, answers, and the entries between them
    Diff(diff::Args),
    /// Show every key of model.toml and perennial.toml, with its default and range
    Config(config::Args),
    /// Check every journal and checkpoint on disk
    Verify(verify::Args),
    /// Run the whole loop on a generated drifting stream
    Demo(demo::Args),
    /// Print the help of every command as Markdown
    #[command(hide = true)]
    Reference(reference::Args),
}

impl Cli {
    /// Runs the command to its end.
    ///
    /// # Errors
    /// The failure, as a chain from the action to its cause.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.command {
            CliCommand::Init(args) => init::run(args),
            CliCommand::Import(args) => import::run(args),
            CliCommand::Serve(args) => serve::run(args),
            CliCommand::Token(args) => token::run(args),
            CliCommand::Predict(args) => block_on(predict::run(args)),
            CliCommand::Feedback(args) => block_on(feedback::run(args)),
            CliCommand::Stream(args) => block_on(stream::run(args)),
            CliCommand::Evaluate(args) => evaluate::run(args),
            CliCommand::Status(args) => block_on(status::run(args)),
            CliCommand::Watch(args) => block_on(watch::run(args)),
            CliCommand::Versions(args) => block_on(versions::run(args)),
            CliCommand::Show(args) => block_on(versions::show(args)),
            CliCommand::Checkpoint(args) => block_on(checkpoint::run(args)),
            CliCommand::Restore(args) => block_on(restore::run(args)),
            CliCommand::Retrain(args) => block_on(retrain::run(args)),
            CliCommand::Alias(args) => block_on(alias::run(args)),
            CliCommand::Promote(args) => block_on(promote::run(args)),
            CliCommand::Freeze(args) => block_on(promote::freeze(args)),
            CliCommand::Resume(args) => block_on(promote::resume(args)),
            CliCommand::Incidents(args) => block_on(incidents::run(args)),
            CliCommand::Quarantine(args) => block_on(quarantine::run(args)),
            CliCommand::Limits(args) => block_on(limits::run(args)),
            CliCommand::Retract(args) => block_on(retract::run(args)),
            CliCommand::Audit(args) => block_on(audit::run(args)),
            CliCommand::Fate(args) => block_on(fate::run(args)),
            CliCommand::Replay(args) => replay::run(args),
            CliCommand::Compare(args) => compare::run(args),
            CliCommand::Diff(args) => diff::run(args),
            CliCommand::Config(args) => config::run(args),
            CliCommand::Verify(args) => verify::run(args),
            CliCommand::Demo(args) => demo::run(args),
            CliCommand::Reference(args) => reference::run(args, Cli::command()),
        }
    }
}

/// Runs a command that calls a server: it mostly waits, so one thread is enough.
fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(command)
}

#[cfg(test)]
mod tests {
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
