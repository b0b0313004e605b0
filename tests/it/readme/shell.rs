//! A temporary folder with a shell, in which the commands of a document run.
//!
//! Invariant: nothing outlives the test: the shell and the server end with the folder.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use tempfile::TempDir;

use crate::support::server::{WAIT_MAX, ended, kill};

/// Printed by the shell after each block.
const DONE: &str = "-- the block has ended --";
/// The commands that take `--server`.
const CLIENTS: &str = "predict|feedback|stream|status|watch|versions|show|checkpoint|restore|retrain|alias|promote|freeze|resume|incidents|\
     quarantine|limits|retract|audit|fate";
/// The ports of the documents, for gRPC and for HTTP.
const PORTS: [&str; 2] = ["8001", "8000"];

pub(super) struct ShellWorkspace {
    folder: TempDir,
    shell: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    n_blocks: usize,
    server: Option<Child>,
    /// The ports of the running server, for gRPC and for HTTP.
    ports: Option<[String; 2]>,
    has_python: bool,
}

impl ShellWorkspace {
    pub(super) fn new(rows: &str) -> ShellWorkspace {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        fs::write(path.join("rows.csv"), rows).expect("it is written");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for shared in ["proto", "examples"] {
            symlink(root.join(shared), path.join(shared)).expect("it is linked");
        }
        write_wrapper(path);
        let mut shell = command(path, "sh");
        let stderr = File::create(path.join(".stderr")).expect("it is created");
        shell.arg("-e").stdin(Stdio::piped()).stderr(stderr);
        let mut shell = shell.stdout(Stdio::piped()).spawn().expect("sh starts");
        let stdin = shell.stdin.take().expect("it is piped");
        let lines = lines_of(&mut shell);
        let import = "import tritonclient.grpc, numpy, grpc_tools";
        let python = command(path, "python3").args(["-c", import]).output();
        ShellWorkspace {
            shell,
            stdin,
            lines,
            n_blocks: 0,
            server: None,
            ports: None,
            has_python: python.is_ok_and(|output| output.status.success()),
            folder,
        }
    }

    pub(super) fn has_python(&self) -> bool {
        self.has_python
    }

    pub(super) fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.path().join(file), text).expect("it is written");
    }

    /// Runs a block in the shell of the document.
    pub(super) fn run(&mut self, place: &str, text: &str) {
        self.n_blocks += 1;
        let block = format!(".block-{}.sh", self.n_blocks);
        self.write(&block, &self.with_ports(text));
        let line = format!(". ./{block} < /dev/null\necho '{DONE}'\n");
        // A shell that has ended takes nothing; its block is shown below.
        let _ = self.stdin.write_all(line.as_bytes());
        while let Ok(line) = self.lines.recv_timeout(WAIT_MAX) {
            if line == DONE {
                return;
            }
        }
        let stderr = fs::read_to_string(self.folder.path().join(".stderr"));
        panic!("{place}: `{}`\n{}", text.trim(), stderr.unwrap_or_default());
    }

    pub(super) fn run_python(&mut self, place: &str, text: &str) {
        let file = format!(".block-{}.py", self.n_blocks + 1);
        self.write(&file, &self.with_ports(text));
        self.run(place, &format!("python3 {file}\n"));
    }

    /// Starts a server, and waits until it listens.
    pub(super) fn serve(&mut self, place: &str, text: &str) {
        assert!(self.server.is_none(), "{place}: a server runs already");
        let mut server = command(self.folder.path(), "sh");
        server.arg("-c").arg(format!("exec {}", text.trim()));
        let stderr = File::create(self.folder.path().join(".server")).expect("it is created");
        let server = server.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = server.stderr(stderr).spawn().expect("sh starts");
        let lines = lines_of(&mut child);
        self.server = Some(child);
        let line = lines.recv_timeout(WAIT_MAX);
        let log = || fs::read_to_string(self.folder.path().join(".server")).unwrap_or_default();
        let line = line.unwrap_or_else(|_| panic!("{place}: `{}`\n{}", text.trim(), log()));
        let port = |word: &str| {
            let address = line
                .split(word)
                .nth(1)
                .and_then(|rest| rest.split(' ').next());
            let port = address.and_then(|address| address.rsplit(':').next());
            port.expect("an address has a port").to_owned()
        };
        let ports = [port("grpc="), port("http=")];
        self.write(".address", &format!("127.0.0.1:{}", ports[0]));
        self.ports = Some(ports);
    }

    /// Stops the server, where one runs, and waits for its end.
    pub(super) fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            kill(server.id(), libc::SIGTERM);
            assert!(ended(server).status.success(), "the server stops cleanly");
        }
    }

    /// The text with the ports of the running server.
    fn with_ports(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (port, own) in PORTS.iter().zip(self.ports.iter().flatten()) {
            for host in ["127.0.0.1", "localhost"] {
                text = text.replace(&format!("{host}:{port}"), &format!("127.0.0.1:{own}"));
            }
        }
        text
    }
}

impl Drop for ShellWorkspace {
    fn drop(&mut self) {
        let children = self.server.iter_mut().chain([&mut self.shell]);
        for child in children {
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
}

/// `perennial` as a script that takes free ports, and finds the server that runs on them.
fn write_wrapper(folder: &Path) {
    let program = env!("CARGO_BIN_EXE_perennial");
    let address: PathBuf = folder.join(".address");
    let script = format!(
        "#!/bin/sh\n\
         case \"$1\" in\n\
         serve) exec {program} \"$@\" --listen 127.0.0.1:0 --http 127.0.0.1:0;;\n\
         {CLIENTS})\n\
         for word; do case \"$word\" in --data|--server|-h|--help) exec {program} \"$@\";; esac; done\n\
         exec {program} \"$@\" --server \"$(cat {})\";;\n\
         *) exec {program} \"$@\";;\n\
         esac\n",
        address.display()
    );
    let bin = folder.join(".bin");
    fs::create_dir(&bin).expect("it is made");
    let path = bin.join("perennial");
    fs::write(&path, script).expect("it is written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is executable");
}

/// A command in the folder, which finds the wrapper first and has a process group of its own.
fn command(folder: &Path, program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.current_dir(folder).process_group(0);
    command.env("PATH", format!("{}:{path}", folder.join(".bin").display()));
    command
}

fn lines_of(child: &mut Child) -> Receiver<String> {
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let (sender, lines) = channel();
    thread::spawn(move || {
        let lines = stdout.lines().map_while(Result::ok);
        lines.for_each(|line| drop(sender.send(line)));
    });
    lines
}
