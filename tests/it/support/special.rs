//! Special files that can stand where a regular file should.
//!
//! Invariant: once it was looked at, the file stands there again as it was, if its folder does.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Something else than a file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    Pipe,
    Zeros,
    Folder,
    Socket,
    Sparse,
    /// To the very file, which has been moved out of its root.
    Link,
}

pub(crate) const ALL: [Special; 6] = [
    Special::Pipe,
    Special::Zeros,
    Special::Folder,
    Special::Socket,
    Special::Sparse,
    Special::Link,
];

impl Special {
    /// How it is named in a sentence.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Special::Pipe => "a named pipe, expected a regular file",
            Special::Zeros => "a link leads to /dev/zero, out of ",
            Special::Folder => "a folder, expected a regular file",
            Special::Socket => "a socket, expected a regular file",
            Special::Sparse => "1099511627776 bytes, expected at most ",
            Special::Link => "/outside, out of ",
        }
    }

    fn put(self, place: &Path, moved: &Path) {
        match self {
            Special::Pipe => make(place, libc::S_IFIFO),
            Special::Zeros => symlink("/dev/zero", place).unwrap(),
            Special::Folder => fs::create_dir(place).unwrap(),
            Special::Socket => make(place, libc::S_IFSOCK),
            Special::Sparse => File::create(place).unwrap().set_len(1 << 40).unwrap(),
            Special::Link => symlink(moved, place).unwrap(),
        }
    }
}

fn make(place: &Path, kind: libc::mode_t) {
    let name = CString::new(place.as_os_str().as_bytes()).unwrap();
    // SAFETY: the pointer is to a string that lives.
    assert_eq!(unsafe { libc::mknod(name.as_ptr(), kind | 0o600, 0) }, 0);
}

/// Puts each of them where a file is, or would be, and looks at it.
pub(crate) fn each(place: &Path, kinds: &[Special], mut look: impl FnMut(Special)) {
    let outside = tempfile::tempdir().unwrap();
    let moved = outside.path().join("outside");
    let was_there = place.exists();
    if was_there {
        fs::copy(place, &moved).unwrap();
        fs::remove_file(place).unwrap();
    } else {
        fs::write(&moved, "").unwrap();
    }
    for special in kinds {
        special.put(place, &moved);
        look(*special);
        // Whoever looked may have put a file there, or removed the folder that it was in.
        match fs::symlink_metadata(place) {
            Ok(one) if one.is_dir() => fs::remove_dir(place).unwrap(),
            Ok(_) => fs::remove_file(place).unwrap(),
            Err(_) => {}
        }
    }
    if was_there && place.parent().is_some_and(Path::exists) {
        fs::copy(&moved, place).unwrap();
    }
}
