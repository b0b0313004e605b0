//! The files of the callers, read at the start and again when they change.
//!
//! Invariant: files that are broken or gone change nothing that is in force; the log reports them once.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use perennial::server::{Access, AccessFiles};
use perennial::store::regular;

/// The largest part of a file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// The time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The paths of the access files.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct AccessPaths {
    pub credentials: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub client_ca: Option<PathBuf>,
}

impl AccessPaths {
    /// Access by the files, and the files.
    pub(super) fn open(&self) -> anyhow::Result<(Arc<Access>, AccessFiles)> {
        let files = self.read()?;
        let access = Access::new(&files)?;
        if let Some(key) = &self.key
            && is_read_by_others(key)
        {
            let key = key.display();
            tracing::warn!(%key, "other users of this machine may read the private key: chmod 600");
        }
        Ok((Arc::new(access), files))
    }

    fn read(&self) -> anyhow::Result<AccessFiles> {
        let credentials = bytes("credentials", self.credentials.as_deref())?;
        let credentials = credentials.map(String::from_utf8).transpose();
        Ok(AccessFiles {
            credentials: credentials.context("credentials: expected UTF-8")?,
            certificate: bytes("certificate", self.certificate.as_deref())?,
            key: bytes("key", self.key.as_deref())?,
            client_ca: bytes("client_ca", self.client_ca.as_deref())?,
        })
    }

    /// Puts the files in force whenever they have changed.
    pub(super) async fn follow(self, access: Arc<Access>, mut last: Option<AccessFiles>) {
        if self == AccessPaths::default() {
            return;
        }
        let mut logged = String::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let paths = self.clone();
            let read = tokio::task::spawn_blocking(move || paths.read()).await;
            let taken = match read {
                Ok(Ok(files)) if last.as_ref() == Some(&files) => continue,
                Ok(Ok(files)) => {
                    let taken = access.replace(&files).map_err(anyhow::Error::from);
                    last = Some(files);
                    taken
                }
                Ok(Err(error)) => {
                    access.note_unread();
                    last = None;
                    Err(error)
                }
                Err(_) => return,
            };
            let what = taken.err().map(|error| format!("{error:#}"));
            match &what {
                None => tracing::info!("access: the changed files are in force"),
                Some(error) if *error != logged => {
                    tracing::error!(
                        error,
                        "access: changed access files rejected; the previous ones stay in force"
                    );
                }
                Some(_) => {}
            }
            logged = what.unwrap_or_default();
        }
    }
}

/// A person names the file, so links may lead anywhere.
fn bytes(key: &str, path: Option<&Path>) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(path) = path else { return Ok(None) };
    let read: io::Result<Vec<u8>> = regular::read("/".as_ref(), path, FILE_BYTES_MAX);
    let read = read.with_context(|| format!("{key}: {}", path.display()))?;
    Ok(Some(read))
}

fn is_read_by_others(path: &Path) -> bool {
    let metadata = std::fs::metadata(path);
    metadata.is_ok_and(|metadata| metadata.permissions().mode() & 0o044 != 0)
}
