//! The socket of the file system on which gRPC is served beside its port.
//!
//! Invariant: only its owner can open it before it has its mode, and it is gone once the server has
//! ended. A socket with a listener is not taken from it.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use tokio::net::{UnixListener, UnixSocket};

/// The modes of a socket, by their names.
const MODES: [(&str, u32); 2] = [("0600", 0o600), ("0660", 0o660)];

/// The path of the socket, and its permissions.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LocalSocket {
    pub path: PathBuf,
    pub mode: Option<String>,
}

/// A socket that is there and does not listen yet.
#[derive(Debug)]
pub(super) struct BoundSocket {
    socket: UnixSocket,
    file: SocketFile,
}

/// Its file, which is gone once this is.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl LocalSocket {
    /// Makes the socket. One that a server left behind gives way.
    pub(super) fn bind(&self) -> anyhow::Result<BoundSocket> {
        let of_path = || format!("socket: {}", self.path.display());
        let mode = self.mode()?;
        remove_left(&self.path).with_context(of_path)?;
        let socket = UnixSocket::new_stream().with_context(of_path)?;
        // On Linux its file has this mode from the beginning.
        // SAFETY: the descriptor is open as long as the socket lives.
        let changed = unsafe { libc::fchmod(socket.as_raw_fd(), mode) };
        ensure!(
            changed == 0,
            "{}: {}",
            of_path(),
            io::Error::last_os_error()
        );
        socket.bind(&self.path).with_context(of_path)?;
        let file = SocketFile(self.path.clone());
        fs::set_permissions(&self.path, Permissions::from_mode(mode)).with_context(of_path)?;
        Ok(BoundSocket { socket, file })
    }

    fn mode(&self) -> anyhow::Result<u32> {
        let Some(written) = self.mode.as_deref() else {
            return Ok(MODES[0].1);
        };
        let found = MODES.iter().find(|(name, _)| *name == written);
        let (_, mode) = found.with_context(|| {
            format!(
                "socket_mode: {written:?}, expected 0600 (its owner) or 0660 (its group as well)"
            )
        })?;
        Ok(*mode)
    }
}

impl BoundSocket {
    /// The listener for the runtime that this is called in, and its file.
    pub(super) fn listen(self, backlog: u32) -> io::Result<(Arc<UnixListener>, SocketFile)> {
        let listener = self.socket.listen(backlog)?;
        Ok((Arc::new(listener), self.file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Removes a socket without a listener; anything else stays.
fn remove_left(path: &Path) -> anyhow::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    ensure!(
        found.file_type().is_socket(),
        "it is there, and no socket; move it away, or name another file"
    );
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
        Err(error) => Err(error.into()),
        Ok(_) => bail!("another server listens there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn p8_a_socket_is_its_owners_and_takes_the_place_of_one_that_was_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grpc.sock");
        let socket = |mode: Option<&str>| LocalSocket {
            path: path.clone(),
            mode: mode.map(str::to_owned),
        };
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let bound = socket(None).bind().unwrap();
        assert_eq!(mode(), 0o600);
        let (listener, file) = bound.listen(8).unwrap();
        let taken = socket(None).bind().map(drop).unwrap_err();
        assert!(format!("{taken:#}").contains("another server listens there"));
        drop((listener, file));
        assert!(!path.exists());
        // As a server leaves it that was killed.
        drop(UnixListener::bind(&path).unwrap());
        let bound = socket(Some("0660")).bind().unwrap();
        assert_eq!(mode(), 0o660);
        drop(bound);
        let refused = |mode: Option<&str>| {
            let refused = socket(mode).bind().map(drop).unwrap_err();
            format!("{refused:#}")
        };
        assert!(refused(Some("0777")).contains("expected 0600"));
        fs::write(&path, "").unwrap();
        assert!(refused(None).contains("no socket"));
        assert!(path.exists());
    }
}
