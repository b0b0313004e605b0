//! The program: reads the command line, sets the process up, runs the command.
//!
//! Invariant: exit status 0 means done, 1 failed, 2 misused, where a command has no others; an
//! error is one line on stderr.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use cli::process::ExitStatus;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::process::set_up();
    let command = cli::Cli::parse();
    match command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<ExitStatus>() => {
            let status = error.downcast_ref::<ExitStatus>();
            ExitCode::from(status.map_or(1, |status| status.0))
        }
        // The reader of the output has closed it.
        Err(error) if cli::output::print::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if error.is::<cli::interrupt::Interruption>() => {
            cli::output::print::note(error);
            ExitCode::from(cli::interrupt::EXIT_CODE)
        }
        Err(error) => {
            cli::output::print::note(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
