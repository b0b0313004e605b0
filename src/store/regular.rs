//! Opening regular files by their paths.
//!
//! Invariant: an opened file is a regular file below its root, and no more of it is read than the
//! caller allows. Nothing here waits for another process: a pipe, a socket or a device is refused
//! and not opened.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Opens a regular file for reading. Links are followed as long as they stay below `root`, which
/// may be a link itself.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`]: it is no regular file, or a link leads out of the root.
/// Otherwise the error of the system.
pub fn open(root: &Path, path: &Path) -> io::Result<File> {
    open_with(OpenOptions::new().read(true), root, path)
}

/// Opens an existing regular file for writing.
pub(super) fn open_for_writing(root: &Path, path: &Path) -> io::Result<File> {
    open_with(OpenOptions::new().write(true), root, path)
}

/// Opens a file that a person names, to append to it; where there is none it is made, for its owner alone.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_for_appending(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut options = OpenOptions::new();
    let options = options.append(true).mode(0o600).custom_flags(flags);
    match options.create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            open_with(OpenOptions::new().append(true), Path::new("/"), path)
        }
        made => made,
    }
}

/// The bytes of a regular file. It is never mapped: one that shrinks would take the process down.
///
/// # Errors
/// As [`open`]; [`io::ErrorKind::InvalidInput`] also where it is longer than `n_bytes_max`.
pub fn read(root: &Path, path: &Path, n_bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = open(root, path)?;
    let n_bytes = file.metadata()?.len();
    check_length(n_bytes, n_bytes_max)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(n_bytes as usize)?;
    file.take(n_bytes_max + 1).read_to_end(&mut bytes)?;
    check_length(bytes.len() as u64, n_bytes_max)?;
    Ok(bytes)
}

/// The target of a path, once every link is followed.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`]: out of the root. Otherwise the error of the system.
pub(crate) fn resolve(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let real = fs::canonicalize(path)?;
    let root = fs::canonicalize(if root == "" { Path::new(".") } else { root })?;
    if real.starts_with(&root) {
        Ok(real)
    } else {
        Err(refused(format!(
            "a link leads to {}, out of {}; put the file itself there",
            real.display(),
            root.display()
        )))
    }
}

/// True if something has this name, even where it is a link that leads nowhere.
pub fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn open_with(options: &mut OpenOptions, root: &Path, path: &Path) -> io::Result<File> {
    let real = resolve(root, path)?;
    // Opening a device may do something, so it is looked at first.
    check_regular(&fs::symlink_metadata(&real)?)?;
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = options.custom_flags(flags).open(&real)?;
    // Another may have taken its place since.
    check_regular(&file.metadata()?)?;
    Ok(file)
}

fn check_regular(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () if kind.is_char_device() || kind.is_block_device() => "a device",
        () => "a link",
    };
    Err(refused(format!("{what}, expected a regular file")))
}

fn check_length(n_bytes: u64, n_bytes_max: u64) -> io::Result<()> {
    if n_bytes > n_bytes_max {
        Err(refused(format!(
            "{n_bytes} bytes, expected at most {n_bytes_max}"
        )))
    } else {
        Ok(())
    }
}

fn refused(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use tempfile::{TempDir, tempdir};

    use super::*;

    fn named_pipe(path: &Path) {
        let name = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the pointer is to a string that lives.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    }

    fn root() -> (TempDir, PathBuf) {
        let dir = tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("inner")).unwrap();
        fs::write(root.join("file"), "content").unwrap();
        fs::write(dir.path().join("outside"), "content").unwrap();
        (dir, root)
    }

    #[test]
    fn p9_only_a_regular_file_is_opened() {
        let (_dir, root) = root();
        let path = root.join("one");
        let check = |expected: &str| {
            for opened in [open(&root, &path), open_for_writing(&root, &path)] {
                let error = opened.unwrap_err();
                assert_eq!(error.to_string(), expected);
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            }
        };
        named_pipe(&path);
        check("a named pipe, expected a regular file");
        fs::remove_file(&path).unwrap();
        let socket = UnixListener::bind(&path).unwrap();
        check("a socket, expected a regular file");
        drop(socket);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        check("a folder, expected a regular file");
        let device = open(Path::new("/"), Path::new("/dev/zero")).unwrap_err();
        assert_eq!(device.to_string(), "a device, expected a regular file");
    }

    #[test]
    fn p9_links_are_followed_below_the_root_only() {
        let (dir, root) = root();
        let link = root.join("inner/link");
        let leads = |target: &Path, path: &Path, root: &Path| {
            let _ = fs::remove_file(&link);
            symlink(target, &link).unwrap();
            read(root, path, 7).map_err(|error| error.to_string())
        };
        let content = Ok(b"content".to_vec());
        assert_eq!(leads("../file".as_ref(), &link, &root), content);
        assert_eq!(leads(&root.join("file"), &link, &root), content);
        let out = leads("../../outside".as_ref(), &link, &root).unwrap_err();
        assert!(out.starts_with("a link leads to "), "{out}");
        assert!(out.contains("outside, out of "), "{out}");
        let out = leads("/dev/zero".as_ref(), &link, &root).unwrap_err();
        assert!(out.contains("a link leads to /dev/zero, out of "), "{out}");
        // A folder above it is a link.
        let below = root.join("inner/link/outside");
        let out = leads(dir.path(), &below, &root).unwrap_err();
        assert!(out.contains("outside, out of "), "{out}");
        // The root is one.
        let linked = dir.path().join("linked");
        symlink(&root, &linked).unwrap();
        assert_eq!(read(&linked, &linked.join("file"), 7).unwrap(), b"content");
        fs::remove_file(&link).unwrap();
        symlink("nowhere", &link).unwrap();
        assert!(is_there(&link));
        let gone = open(&root, &link).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn p8_no_more_is_read_than_allowed() {
        let (_dir, root) = root();
        let path = root.join("file");
        assert_eq!(read(&root, &path, 7).unwrap(), b"content");
        let long = read(&root, &path, 6).unwrap_err().to_string();
        assert_eq!(long, "7 bytes, expected at most 6");
        let sparse = OpenOptions::new().write(true).open(&path).unwrap();
        sparse.set_len(1 << 40).unwrap();
        let long = read(&root, &path, 1 << 33).unwrap_err().to_string();
        assert_eq!(long, "1099511627776 bytes, expected at most 8589934592");
    }
}
