//! `perennial serve`: serves every model of a folder until SIGTERM or ctrl-c.
//!
//! Invariant: stdout carries one line, printed once every sound model is ready.

mod access_files;
mod bounds;
mod local_socket;
mod webhook;

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, anyhow, bail, ensure};
use perennial::engine::{self, Engine, WallClock};
use perennial::model::keys::{AllowedValues, Key, with_nearest};
use perennial::server::{self, Access, AuditLog, Listeners};
use perennial::store::regular;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use access_files::AccessPaths;
use local_socket::LocalSocket;

use crate::cli::output::print;

const CONFIG: &str = "perennial.toml";
/// No more of a configuration is read.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// The folders and the addresses. A flag overrides its key in the file.
#[derive(clap::Args)]
#[command(after_help = "Example: perennial serve --models models --data data")]
pub(crate) struct Args {
    /// A file with these as keys, but for --believe-clock, and the tables bounds and webhook [default:
    /// perennial.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A folder without its option
    #[arg(hide = true)]
    stray: Option<PathBuf>,
    /// The folder of models [default: models]
    #[arg(long, value_name = "FOLDER")]
    models: Option<PathBuf>,
    /// The data directory, created where there is none [default: data]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Where to listen for gRPC; port 0 picks a free one [default: 127.0.0.1:8001]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Where to listen for HTTP: health and metrics [default: 127.0.0.1:8000]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// Who may call, as `perennial token` writes it; without, callers of this machine may do everything
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// The certificate of the server as PEM, for TLS on both ports
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// The private key of the certificate, as PEM
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The roots of client certificates as PEM; the credentials give their holders' scopes
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// A socket of the file system on which gRPC is served as well
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
    /// Who may connect to it: 0600 its owner, 0660 its group as well [default: 0600]
    #[arg(long, value_name = "MODE")]
    socket_mode: Option<String>,
    /// Where reads of rows, orders and refused callers are written down, a JSON object a line
    #[arg(long, value_name = "FILE")]
    audit_log: Option<PathBuf>,
    /// Trust the clock of this machine, even if it is more than a day ahead of a journal
    #[arg(long)]
    believe_clock: bool,
}

/// The keys of a configuration file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    models: Option<PathBuf>,
    data: Option<PathBuf>,
    listen: Option<String>,
    http: Option<String>,
    credentials: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    socket: Option<PathBuf>,
    socket_mode: Option<String>,
    audit_log: Option<PathBuf>,
    #[serde(default)]
    bounds: bounds::BoundsTable,
    webhook: Option<webhook::WebhookTable>,
}

const N_FLAGS: usize = 11;

/// The keys of a configuration file.
pub(crate) const KEYS: [Key; N_FLAGS + bounds::KEYS.len() + webhook::KEYS.len()] =
    joined([&FLAGS, &bounds::KEYS, &webhook::KEYS]);

const fn joined<const N: usize>(tables: [&[Key]; 3]) -> [Key; N] {
    let mut keys = [FLAGS[0]; N];
    let (mut table, mut row, mut place) = (0, 0, 0);
    while place < N {
        if row == tables[table].len() {
            (table, row) = (table + 1, 0);
        } else {
            keys[place] = tables[table][row];
            (row, place) = (row + 1, place + 1);
        }
    }
    keys
}

/// The keys that have a flag of the same name.
const FLAGS: [Key; N_FLAGS] = [
    Key {
        name: "models",
        values: AllowedValues::Text("a folder"),
        default: "models",
        unit: "",
        meaning: "The folder of models: each is a folder with a model.toml.",
    },
    Key {
        name: "data",
        values: AllowedValues::Text("a folder"),
        default: "data",
        unit: "",
        meaning: "The data directory, created where there is none: journals and checkpoints.",
    },
    Key {
        name: "listen",
        values: AllowedValues::Text("HOST:PORT"),
        default: "127.0.0.1:8001",
        unit: "",
        meaning: "The address for gRPC; port 0 picks a free one.",
    },
    Key {
        name: "http",
        values: AllowedValues::Text("HOST:PORT"),
        default: "127.0.0.1:8000",
        unit: "",
        meaning: "The address for HTTP: health and metrics.",
    },
    Key {
        name: "credentials",
        values: AllowedValues::Text("a file"),
        default: "",
        unit: "",
        meaning: "Who may call, as `perennial token` writes it; changes are taken over within seconds. \
                  Without, callers of this machine may do everything, and no other address is served.",
    },
    Key {
        name: "certificate",
        values: AllowedValues::Text("a file"),
        default: "",
        unit: "",
        meaning: "The certificate of the server and those that lead to its root, as PEM: both ports \
                  speak TLS. Changes are taken over within seconds.",
    },
    Key {
        name: "key",
        values: AllowedValues::Text("a file"),
        default: "",
        unit: "",
        meaning: "The private key of the certificate, as PEM.",
    },
    Key {
        name: "client_ca",
        values: AllowedValues::Text("a file"),
        default: "",
        unit: "",
        meaning: "The roots of client certificates, as PEM; the credentials give their holders' scopes.",
    },
    Key {
        name: "socket",
        values: AllowedValues::Text("a file"),
        default: "",
        unit: "",
        meaning: "A socket of the file system on which gRPC is served as well, to callers of this machine.",
    },
    Key {
        name: "socket_mode",
        values: AllowedValues::Text("0600 or 0660"),
        default: "0600",
        unit: "",
        meaning: "Who may connect to the socket: its owner, or its group as well.",
    },
    Key {
        name: "audit_log",
        values: AllowedValues::Text("a file"),
        default: "",
        unit: "",
        meaning: "Where reads of rows, orders and refused callers are written down, a JSON object a line. It \
                  is appended to.",
    },
];

/// The settings in force.
#[derive(Debug, PartialEq)]
struct ServeSettings {
    models: PathBuf,
    data: PathBuf,
    listen: String,
    http: String,
    access: AccessPaths,
    socket: Option<LocalSocket>,
    audit_log: Option<PathBuf>,
}

impl ServeSettings {
    fn new(args: Args, file: ConfigFile) -> ServeSettings {
        let [models, data, listen, http, ..] = FLAGS.map(|key| key.default);
        ServeSettings {
            models: args.models.or(file.models).unwrap_or(models.into()),
            data: args.data.or(file.data).unwrap_or(data.into()),
            listen: args.listen.or(file.listen).unwrap_or(listen.into()),
            http: args.http.or(file.http).unwrap_or(http.into()),
            access: AccessPaths {
                credentials: args.credentials.or(file.credentials),
                certificate: args.certificate.or(file.certificate),
                key: args.key.or(file.key),
                client_ca: args.client_ca.or(file.client_ca),
            },
            socket: args.socket.or(file.socket).map(|path| LocalSocket {
                path,
                mode: args.socket_mode.or(file.socket_mode),
            }),
            audit_log: args.audit_log.or(file.audit_log),
        }
    }
}

/// Ends the program where a folder stands without its option.
fn misused(folder: &Path) -> ! {
    let folder = folder.display();
    let command = clap::Command::new("serve").bin_name("perennial serve");
    let mut command = <Args as clap::Args>::augment_args(command);
    let why = format!("{folder}: the folder of models is given by --models {folder}");
    command
        .error(clap::error::ErrorKind::ValueValidation, why)
        .exit()
}

/// The log of this program, and only errors of the libraries: some warn of each odd frame of a stranger.
fn log_to_stderr() {
    let is_colored = io::stderr().is_terminal() && !has_no_color(std::env::var_os("NO_COLOR"));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(is_colored);
    let levels = Targets::new()
        .with_default(Level::ERROR)
        .with_target("perennial", Level::INFO);
    tracing_subscriber::registry()
        .with(lines)
        .with(levels)
        .init();
}

/// Serves until SIGTERM or ctrl-c.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    log_to_stderr();
    if let Some(stray) = &args.stray {
        misused(stray);
    }
    check_clock(SystemTime::now())?;
    let mut file = read(args.config.as_deref())?;
    let webhook = file.webhook.take();
    let webhook = webhook.map(webhook::WebhookTable::read).transpose()?;
    let (webhook, webhook_queue_max) = webhook.unzip();
    let bounds = std::mem::take(&mut file.bounds).read()?;
    let wall_clock = if args.believe_clock {
        WallClock::Believed
    } else {
        WallClock::Checked
    };
    let settings = ServeSettings::new(args, file);
    check_models(&settings.models)?;
    let (access, files) = settings.access.open()?;
    let audit_log = settings.audit_log.as_deref().map(open_audit_log);
    let audit_log = audit_log.transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    // Recovery can take minutes: a port in use is reported before it begins.
    let ports = runtime.block_on(async {
        let grpc = bind("--listen", &settings.listen, &access).await?;
        anyhow::Ok([grpc, bind("--http", &settings.http, &access).await?])
    })?;
    let socket = settings.socket.as_ref().map(LocalSocket::bind);
    let socket = socket.transpose()?;
    let engine = Engine::open(engine::Config {
        models: settings.models.clone(),
        data: settings.data.clone(),
        learner_threads: 0,
        webhook_queue_max,
        wall_clock,
        ..Default::default()
    })?;
    warn_of_nothing(&engine, &settings.models);
    let config = server::Config {
        access: access.clone(),
        webhook,
        audit_log,
        ..bounds
    };
    let served = runtime.block_on(async {
        let listening = socket.map(|socket| socket.listen(BACKLOG)).transpose()?;
        let (socket, _file) = listening.unzip();
        let config = server::Config { socket, ..config };
        tokio::spawn(settings.access.follow(access, Some(files)));
        serve(ports, engine.clone(), config).await
    });
    // Also after an error: the learned state is saved.
    engine.close();
    served
}

fn warn_of_nothing(engine: &Engine, models: &Path) {
    if engine.models().next().is_none() {
        let folder = models.display();
        tracing::warn!(
            %folder,
            "nothing to serve: no folder with a model.toml in it; `perennial init` drafts one"
        );
    }
}

async fn serve(
    [grpc, http]: [TcpSocket; 2],
    engine: Arc<Engine>,
    config: server::Config,
) -> anyhow::Result<()> {
    let listeners = Listeners {
        grpc: listen("--listen", grpc)?,
        http: listen("--http", http)?,
    };
    let stopped = stop()?;
    print::line(format_args!(
        "listening grpc={} http={}",
        listeners.grpc.local_addr()?,
        listeners.http.local_addr()?
    ))?;
    Ok(server::run(listeners, engine, config, stopped).await?)
}

fn open_audit_log(path: &Path) -> anyhow::Result<Arc<AuditLog>> {
    let opened = AuditLog::open(path);
    let opened = opened.with_context(|| format!("audit_log: {}", path.display()))?;
    Ok(Arc::new(opened))
}

/// Refuses a clock whose time no header of an answer can carry.
fn check_clock(now: SystemTime) -> anyhow::Result<()> {
    let why = "the clock of this machine stands before 1970; set it, and start again";
    ensure!(now >= SystemTime::UNIX_EPOCH, why);
    Ok(())
}

/// Refuses the folder of one model in place of the one around it.
fn check_models(models: &Path) -> anyhow::Result<()> {
    if !models.join("model.toml").exists() {
        return Ok(());
    }
    let around = match models.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        Some(_) if models != Path::new(".") => PathBuf::from("."),
        _ => models.join(".."),
    };
    let (models, around) = (models.display(), around.display());
    bail!(
        "--models {models}: it has a model.toml and is the folder of one model; name the folder that it \
         is in: --models {around}"
    )
}

/// True if `NO_COLOR` asks for plain text: it is set, and not empty (no-color.org).
fn has_no_color(variable: Option<OsString>) -> bool {
    variable.is_some_and(|value| !value.is_empty())
}

/// Binds a port. Until it listens, a connection is refused at once.
async fn bind(flag: &str, address: &str, access: &Access) -> anyhow::Result<TcpSocket> {
    let cannot = || format!("{flag} {address}: cannot listen there");
    ensure!(
        address
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok()),
        "{flag} {address}: expected HOST:PORT, as in 127.0.0.1:8001"
    );
    let found = lookup_host(address).await.with_context(cannot)?;
    let found: Vec<SocketAddr> = found.collect();
    for &one in &found {
        access
            .check_address(one)
            .with_context(|| format!("{flag} {address}"))?;
    }
    let bound = found.into_iter().map(|address| -> io::Result<TcpSocket> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // As every listener of the library has it: a port just left can be taken again.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(socket)
    });
    let none = || io::Error::new(ErrorKind::NotFound, "the name has no address");
    let tried = bound.reduce(|first, next| first.or(next));
    tried.unwrap_or_else(|| Err(none())).with_context(cannot)
}

fn listen(flag: &str, socket: TcpSocket) -> anyhow::Result<TcpListener> {
    let address = socket.local_addr()?;
    let listener = socket.listen(BACKLOG);
    listener.with_context(|| format!("{flag} {address}: cannot listen there"))
}

/// A future that resolves at SIGTERM or ctrl-c.
fn stop() -> anyhow::Result<impl Future<Output = ()>> {
    let listen =
        |kind: SignalKind| -> anyhow::Result<Signal> { signal(kind).context("listen for signals") };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("stopping: SIGTERM"),
            _ = interrupt.recv() => tracing::info!("stopping: ctrl-c"),
        }
    })
}

/// Reads the configuration; without `--config` the file may be absent.
fn read(path: Option<&Path>) -> anyhow::Result<ConfigFile> {
    let (path, is_named) = match path {
        Some(path) => (path, true),
        None => (CONFIG.as_ref(), false),
    };
    let of_file = || path.display().to_string();
    // A person names the file, or puts it here, so links may lead anywhere.
    let bytes = match regular::read("/".as_ref(), path, CONFIG_BYTES_MAX) {
        Err(error) if !is_named && error.kind() == ErrorKind::NotFound => {
            return Ok(ConfigFile::default());
        }
        bytes => bytes.with_context(of_file)?,
    };
    let text = String::from_utf8(bytes).with_context(of_file)?;
    toml::from_str(&text)
        .map_err(|error| anyhow!(with_nearest(&error)))
        .with_context(of_file)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn flags_beat_the_file_and_the_file_beats_defaults() {
        let args = Args {
            stray: None,
            config: None,
            models: Some("flag".into()),
            data: None,
            listen: None,
            http: None,
            credentials: None,
            certificate: Some("flag".into()),
            key: None,
            client_ca: None,
            socket: Some("flag".into()),
            socket_mode: None,
            audit_log: None,
            believe_clock: false,
        };
        let file = "models = 'file'\ndata = 'file'\nlisten = '0.0.0.0:1'\ncertificate = 'file'\nkey = 'file'\n\
                    socket = 'file'\nsocket_mode = '0660'\naudit_log = 'file'";
        let file = toml::from_str(file);
        let settings = ServeSettings::new(args, file.unwrap());
        let expected = ServeSettings {
            models: "flag".into(),
            data: "file".into(),
            listen: "0.0.0.0:1".into(),
            http: "127.0.0.1:8000".into(),
            access: AccessPaths {
                certificate: Some("flag".into()),
                key: Some("file".into()),
                ..AccessPaths::default()
            },
            socket: Some(LocalSocket {
                path: "flag".into(),
                mode: Some("0660".to_owned()),
            }),
            audit_log: Some("file".into()),
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn the_folder_of_one_model_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("fraud");
        fs::create_dir(&model).unwrap();
        fs::write(model.join("model.toml"), "").unwrap();
        assert!(check_models(folder.path()).is_ok());
        let error = check_models(&model).unwrap_err().to_string();
        let around = format!("--models {}", folder.path().display());
        assert!(error.ends_with(&around), "{error}");
    }

    #[test]
    fn p9_a_clock_before_1970_is_refused_in_a_sentence() {
        let second = std::time::Duration::from_secs(1);
        check_clock(SystemTime::UNIX_EPOCH).unwrap();
        let refused = check_clock(SystemTime::UNIX_EPOCH - second).unwrap_err();
        assert!(
            refused.to_string().contains("before 1970; set it"),
            "{refused}"
        );
    }

    #[test]
    fn no_color_is_honoured_unless_it_is_empty() {
        let check = |value: Option<&str>, expected: bool| {
            assert_eq!(has_no_color(value.map(OsString::from)), expected);
        };
        check(None, false);
        check(Some(""), false);
        check(Some("1"), true);
    }

    #[test]
    fn unknown_keys_and_missing_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("perennial.toml");
        let refused = || format!("{:#}", read(Some(&path)).map(drop).unwrap_err());
        let error = refused();
        assert!(error.contains("perennial.toml: No such file"), "{error}");
        fs::write(&path, "port = 1").unwrap();
        let error = refused();
        assert!(error.contains("unknown field `port`"), "{error}");
        fs::write(&path, "lissten = '127.0.0.1:1'").unwrap();
        let error = refused();
        assert!(error.ends_with("; did you mean `listen`?"), "{error}");
        fs::write(&path, " ".repeat(CONFIG_BYTES_MAX as usize + 1)).unwrap();
        let error = refused();
        assert!(
            error.ends_with("1048577 bytes, expected at most 1048576"),
            "{error}"
        );
        let device = read(Some("/dev/zero".as_ref())).map(drop).unwrap_err();
        let expected = "/dev/zero: a device, expected a regular file";
        assert_eq!(format!("{device:#}"), expected);
    }
}
