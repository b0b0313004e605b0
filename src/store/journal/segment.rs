//! One file of a journal, named by the position of its first entry.
//!
//! Invariant: an opened segment has a sound header that agrees with its name.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::event::Time;
use crate::store::disk::{Disk, OpenFile};
use crate::store::error::{Error, Malformed};
use crate::store::format::{SEGMENT_HEADER_BYTES, SegmentHeader, genesis};
use crate::store::regular;

/// The only other file that may lie beside the segments.
pub(super) const ERASURE_LIST: &str = "erasing";

/// Entries start within 32 bits; the bytes after the last one are few.
const SEGMENT_BYTES_MAX: u64 = 5 << 30;

/// The newest sound entry: its position, its journal time and the chain at it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    pub position: u64,
    pub time: Time,
    pub chain: blake3::Hash,
}

/// A torn end that no sync covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The last segment.
    pub path: PathBuf,
    /// The first position that is lost.
    pub position: u64,
    /// The start of the torn end; 0 when the whole file is torn.
    pub offset: u64,
    /// The length in bytes.
    pub bytes: u64,
}

/// A segment that is open for reading.
pub(super) struct Segment {
    pub path: PathBuf,
    pub file: File,
    pub header: SegmentHeader,
}

impl Segment {
    /// Opens the segment of this name.
    pub(super) fn open(dir: &Path, first_position: u64) -> Result<Segment, Error> {
        let path = path(dir, first_position);
        let mut file = regular::open(dir, &path).map_err(Error::io(&path, "open it"))?;
        let n_bytes = file.metadata().map_err(Error::io(&path, "read it"))?.len();
        if n_bytes > SEGMENT_BYTES_MAX {
            let what = format!("{n_bytes} bytes, expected at most {SEGMENT_BYTES_MAX}");
            return Err(Error::foreign(&path, what));
        }
        let damaged = |malformed| damaged(&path, first_position, 0, malformed);
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        match file.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let what = "the file ends in its segment header".to_owned();
                return Err(damaged(Malformed(what)));
            }
            read => read.map_err(Error::io(&path, "read it"))?,
        }
        let header = SegmentHeader::parse(&bytes).map_err(|malformed| {
            if SegmentHeader::is_whole(&bytes) {
                Error::foreign(&path, malformed.0)
            } else {
                damaged(malformed)
            }
        })?;
        if header.first_position != first_position {
            let what = format!(
                "its name has position {first_position}, its header {}; \
                 give it its name back, or move it away if it is a copy",
                header.first_position
            );
            return Err(Error::foreign(&path, what));
        }
        if first_position == 1 && header.chain != genesis(&header.journal_id) {
            let what = "the chain does not start from the journal's id".to_owned();
            return Err(damaged(Malformed(what)));
        }
        Ok(Segment { path, file, header })
    }

    pub(super) fn len(&self) -> Result<u64, Error> {
        let metadata = self.file.metadata();
        Ok(metadata.map_err(Error::io(&self.path, "read it"))?.len())
    }

    pub(super) fn damaged(&self, position: u64, offset: u64, malformed: Malformed) -> Error {
        damaged(&self.path, position, offset, malformed)
    }
}

fn damaged(path: &Path, position: u64, offset: u64, malformed: Malformed) -> Error {
    Error::Damaged {
        path: path.to_owned(),
        position,
        offset,
        what: malformed.0,
    }
}

/// The segment that is open for appending.
pub(super) struct LastSegment {
    pub first_position: u64,
    pub path: PathBuf,
    file: OpenFile,
    pub n_bytes: u64,
}

impl LastSegment {
    /// An empty segment that goes on after `before`; it is on disk when this returns. Where it
    /// fails it can be called again, as long as nothing else is written after `before`.
    pub(super) fn create(
        disk: &Disk,
        dir: &Path,
        journal_id: [u8; 16],
        before: &Head,
    ) -> Result<LastSegment, Error> {
        let header = SegmentHeader {
            first_position: before.position + 1,
            journal_id,
            chain: before.chain,
        };
        let path = path(dir, header.first_position);
        // A file that an earlier attempt has left holds no entry.
        if regular::is_there(&path) {
            disk.remove(&path)?;
        }
        disk.write_file(&path, &header.to_bytes())?;
        disk.sync_folder(dir)?;
        LastSegment::open(disk, dir, header.first_position)
    }

    pub(super) fn open(disk: &Disk, dir: &Path, first_position: u64) -> Result<LastSegment, Error> {
        let path = path(dir, first_position);
        let open = || {
            let file = disk.open(&path)?;
            let n_bytes = file.len()?;
            Ok((file, n_bytes))
        };
        let (file, n_bytes) = open().map_err(Error::io(&path, "open it for writing"))?;
        Ok(LastSegment {
            first_position,
            path,
            file,
            n_bytes,
        })
    }

    /// Writes after the last byte.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.file.write_at(self.n_bytes, bytes);
        written.map_err(Error::io(&self.path, "write to it"))?;
        self.n_bytes += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), Error> {
        let synced = self.file.sync();
        synced.map_err(Error::io(&self.path, "sync it"))
    }
}

/// The path of the segment with this first position.
pub(super) fn path(dir: &Path, first_position: u64) -> PathBuf {
    dir.join(format!("{first_position:020}.seg"))
}

/// One file of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    /// The position of its first entry.
    pub first_position: u64,
    /// The length in bytes.
    pub bytes: u64,
}

/// The segments of a journal, rising; the last one may be empty.
///
/// # Errors
/// [`Error::Foreign`]: something else is there. [`Error::Io`]: it cannot be read.
pub fn segments(dir: &Path) -> Result<Vec<SegmentFile>, Error> {
    let listed = list(dir)?.into_iter().map(|first_position| {
        let path = path(dir, first_position);
        let metadata = fs::metadata(&path).map_err(Error::io(&path, "read it"))?;
        Ok(SegmentFile {
            first_position,
            bytes: metadata.len(),
        })
    });
    listed.collect()
}

/// The first positions of all segments, rising.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, Error> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io(dir, "list it"))? {
        let entry = entry.map_err(Error::io(dir, "list it"))?;
        let name = entry.file_name();
        if name == ERASURE_LIST {
            continue;
        }
        let first = name.to_str().and_then(first_position).ok_or_else(|| {
            Error::foreign(
                &entry.path(),
                "not a segment of a journal; move it out of this folder",
            )
        })?;
        firsts.push(first);
    }
    firsts.sort_unstable();
    Ok(firsts)
}

fn first_position(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let sound = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let first: u64 = digits.parse().ok()?;
    (sound && first > 0).then_some(first)
}

/// Takes a torn end away, durably.
pub(super) fn truncate(disk: &Disk, torn: &TornTail) -> Result<(), Error> {
    if torn.offset == 0 {
        return disk.remove(&torn.path);
    }
    let truncated = || {
        let file = disk.open(&torn.path)?;
        file.truncate(torn.offset)?;
        file.sync()
    };
    truncated().map_err(Error::io(&torn.path, "cut its torn end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_segments_are_read() {
        let check = |name: &str, first: Option<u64>| assert_eq!(first_position(name), first);
        check("00000000000000000001.seg", Some(1));
        check("18446744073709551615.seg", Some(u64::MAX));
        check("18446744073709551616.seg", None);
        check("00000000000000000000.seg", None);
        check("+0000000000000000001.seg", None);
        check("1.seg", None);
        check("00000000000000000001", None);
        check("00000000000000000001.seg~", None);
    }
}
