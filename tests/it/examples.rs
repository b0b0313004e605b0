//! The programs of `examples/` run: the library within a program, and two clients in Python.
//!
//! Invariant: each runs from its own text and ends well; a client is given the address of a server,
//! and fewer rows.

#[path = "../../examples/embed.rs"]
mod embed;

use std::path::Path;
use std::process::{Command, Output};

use crate::support::passed_over::pass_over;
use crate::support::server::Server;

#[test]
fn the_library_learns_within_a_program() {
    embed::main().expect("it ends well");
}

fn python(args: &[&str]) -> Option<Output> {
    Command::new("python3").args(args).output().ok()
}

/// Runs a client beside a server of these models; its stdout, or none where tritonclient is absent.
fn run_client(models: &str, script: &str, options: &[&str]) -> Option<String> {
    let imports = "import tritonclient.grpc, numpy, grpc_tools";
    let found = python(&["-c", imports]).is_some_and(|output| output.status.success());
    if !found {
        pass_over(&format!("{script}: tritonclient"));
        return None;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(&root.join(models), data.path());
    let script = root.join("examples").join(script);
    let script = script.to_str().expect("UTF-8");
    let args = [&[script, "--server", &server.address], options].concat();
    let Output {
        status,
        stdout,
        stderr,
    } = python(&args).expect("it starts");
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{script}: {stderr}");
    server.stop();
    Some(String::from_utf8(stdout).expect("UTF-8"))
}

#[test]
fn a_client_streams_labels_back_that_come_late() {
    let options = ["--payments", "400"];
    if let Some(stdout) = run_client("models", "corrections.py", &options) {
        assert!(stdout.contains("'ACCEPTED': 400"), "{stdout}");
    }
}

#[test]
fn a_client_sends_clicks_of_a_bandit() {
    let options = ["--visits", "500"];
    if let Some(stdout) = run_client("examples/models", "bandit.py", &options) {
        assert!(stdout.contains("500 visits"), "{stdout}");
    }
}
