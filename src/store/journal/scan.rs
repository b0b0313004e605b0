//! The scan of a journal: every group and entry is checked, from the segment of a position on.
//!
//! Invariant: it changes nothing. An end counts as torn, and may be cut, only where nothing shows
//! that a sync covered it; all other damage is refused.

use std::fs;
use std::path::Path;

use super::read_buffer::ReadBuffer;
use super::scan_segment::{CHUNK, Content, Corruption, scan_segment};
use super::segment::{self, Head, Segment, TornTail};
use crate::event::Time;
use crate::store::error::{Error, Malformed};
use crate::store::format::{
    EntryHeader, GROUP_HEADER_BYTES, GROUP_MAGIC, GroupHeader, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use crate::store::regular;

/// The result of a scan.
pub(super) struct JournalScan {
    /// The headers of all segments, without one whose own header is torn; empty for a new journal.
    pub headers: Vec<SegmentHeader>,
    pub head: Head,
    /// The bytes of all segments, without the torn end.
    pub n_bytes: u64,
    pub torn_tail: Option<TornTail>,
}

/// Checks the journal in `dir` from the segment that holds position `from`; `visit` sees each
/// entry and may stop the scan.
pub(super) fn scan(
    dir: &Path,
    from: u64,
    mut visit: impl FnMut(&EntryHeader, Content) -> Result<(), Error>,
) -> Result<JournalScan, Error> {
    let mut firsts = segment::list(dir)?;
    let mut torn_tail = torn_segment(dir, firsts.last())?;
    if torn_tail.is_some() {
        firsts.pop();
    }
    let start = start_of(dir, &firsts, from)?;
    let mut scan = JournalScan::new(dir, &firsts)?;
    for index in start..firsts.len() {
        let segment = Segment::open(dir, firsts[index])?;
        if index == start {
            scan.start_at(&segment.header);
        } else {
            scan.check_continuation(&segment)?;
        }
        let Some(corruption) = scan_segment(&segment, &mut scan.head, &mut visit)? else {
            continue;
        };
        let touched = scan.head.position + 1;
        let proof = if index + 1 < firsts.len() || torn_tail.is_some() {
            // A new segment is created only after all before it is synced.
            Some("the next segment exists".to_owned())
        } else if from >= touched {
            Some(format!("a checkpoint stands at {from}"))
        } else {
            proof_of_sync(&segment, corruption.group, touched)?
        };
        let torn = torn_or_damaged(corruption, &segment, touched, proof)?;
        scan.n_bytes -= torn.bytes;
        torn_tail = Some(torn);
    }
    let next = scan.head.position + 1;
    if from >= next {
        return Err(Error::CheckpointAhead {
            path: dir.to_owned(),
            checkpoint: from,
            last: scan.head.position,
        });
    }
    if torn_tail.as_ref().is_some_and(|torn| torn.position != next) {
        return Err(missing(dir, next));
    }
    scan.torn_tail = torn_tail;
    Ok(scan)
}

/// The segment that holds position `from`, or is the first of a journal that starts right after it.
fn start_of(dir: &Path, firsts: &[u64], from: u64) -> Result<usize, Error> {
    let after = firsts.partition_point(|first| *first <= from);
    match firsts.first() {
        Some(first) if *first > from.saturating_add(1) => Err(missing(dir, from + 1)),
        _ => Ok(after.saturating_sub(1)),
    }
}

impl JournalScan {
    /// The scan before its first group.
    fn new(dir: &Path, firsts: &[u64]) -> Result<JournalScan, Error> {
        let (headers, sizes) = read_headers(dir, firsts)?;
        Ok(JournalScan {
            headers,
            head: Head {
                position: 0,
                time: Time(0),
                chain: [0; 32].into(),
            },
            n_bytes: sizes.iter().sum(),
            torn_tail: None,
        })
    }

    fn start_at(&mut self, header: &SegmentHeader) {
        self.head.position = header.first_position - 1;
        self.head.chain = header.chain;
    }

    /// Checks that a segment continues the one before it.
    fn check_continuation(&self, segment: &Segment) -> Result<(), Error> {
        let header = &segment.header;
        let next = self.head.position + 1;
        if header.first_position != next {
            let what = format!(
                "the journal before it ends at position {}",
                self.head.position
            );
            return Err(segment.damaged(next, 0, Malformed(what)));
        }
        if header.chain != self.head.chain {
            let what = "the chain differs from that of the segment before it".to_owned();
            return Err(segment.damaged(next, 0, Malformed(what)));
        }
        Ok(())
    }
}

fn missing(dir: &Path, position: u64) -> Error {
    Error::Missing {
        path: dir.to_owned(),
        position,
    }
}

/// A segment's header is synced before anything follows it, so a file that goes on after it
/// cannot be torn there.
fn torn_segment(dir: &Path, last: Option<&u64>) -> Result<Option<TornTail>, Error> {
    let Some(&position) = last else {
        return Ok(None);
    };
    let path = segment::path(dir, position);
    let metadata = fs::metadata(&path).map_err(Error::io(&path, "read it"))?;
    if metadata.len() > SEGMENT_HEADER_BYTES as u64 {
        return Ok(None);
    }
    let bytes = regular::read(dir, &path, SEGMENT_HEADER_BYTES as u64)
        .map_err(Error::io(&path, "read it"))?;
    let whole = bytes.first_chunk().is_some_and(SegmentHeader::is_whole);
    Ok((!whole).then_some(TornTail {
        path,
        position,
        offset: 0,
        bytes: bytes.len() as u64,
    }))
}

/// The headers of all segments, which must be of one journal, and the sizes of the files.
fn read_headers(dir: &Path, firsts: &[u64]) -> Result<(Vec<SegmentHeader>, Vec<u64>), Error> {
    let mut headers: Vec<SegmentHeader> = Vec::with_capacity(firsts.len());
    let mut sizes = Vec::with_capacity(firsts.len());
    for first in firsts {
        let segment = Segment::open(dir, *first)?;
        sizes.push(segment.len()?);
        if let Some(before) = headers.last()
            && before.journal_id != segment.header.journal_id
        {
            let what = "it belongs to another journal than the segment before it; move it away";
            return Err(Error::foreign(&segment.path, what));
        }
        headers.push(segment.header);
    }
    Ok((headers, sizes))
}

/// A torn end to cut, or an error where there is proof that a sync covered it.
fn torn_or_damaged(
    corruption: Corruption,
    segment: &Segment,
    position: u64,
    proof: Option<String>,
) -> Result<TornTail, Error> {
    match proof {
        None => Ok(TornTail {
            path: segment.path.clone(),
            position,
            offset: corruption.group,
            bytes: segment.len()? - corruption.group,
        }),
        Some(proof) => {
            let what = format!("{}; it had been synced: {proof}", corruption.malformed);
            Err(segment.damaged(position, corruption.offset, Malformed(what)))
        }
    }
}

/// Searches the rest of the last segment for a group that was written after a sync covered
/// `position`.
fn proof_of_sync(segment: &Segment, start: u64, position: u64) -> Result<Option<String>, Error> {
    let mut buffer = ReadBuffer::new(CHUNK);
    let len = segment.len()?;
    let mut at = start;
    while at + GROUP_HEADER_BYTES as u64 <= len {
        let n_bytes = (len - at).min(CHUNK as u64) as usize;
        let Some(bytes) = buffer.get(segment, at, n_bytes)? else {
            break;
        };
        for (index, place) in bytes.windows(GROUP_HEADER_BYTES).enumerate() {
            if place[0] != GROUP_MAGIC[0] {
                continue;
            }
            let place = place.try_into().expect("windows have this size");
            if let Ok(group) = GroupHeader::parse(place, &segment.header.journal_id)
                && group.synced_position >= position
            {
                let (offset, synced) = (at + index as u64, group.synced_position);
                let proof = format!("the group at byte {offset} was written after {synced} was");
                return Ok(Some(proof));
            }
        }
        // The last bytes are looked at again, with those that follow them.
        at += (n_bytes - GROUP_HEADER_BYTES + 1) as u64;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use tempfile::{TempDir, tempdir};

    use super::super::fixture::{append, duplicate, read_all, segments_of};
    use super::*;
    use crate::store::Journal;
    use crate::store::verify;

    const SMALL: u32 = 800;

    fn find(dir: &TempDir, from: u64) -> Result<JournalScan, Error> {
        scan(dir.path(), from, |_, _| Ok(()))
    }

    /// Each range is one synced group.
    fn synced(groups: &[RangeInclusive<u64>]) -> (TempDir, Journal) {
        let dir = tempdir().unwrap();
        let (mut journal, _) = Journal::create_or_open(dir.path(), 0, segments_of(SMALL)).unwrap();
        for group in groups {
            append(&mut journal, group.clone());
            journal.sync().unwrap();
        }
        (dir, journal)
    }

    #[test]
    fn no_changed_byte_of_a_closed_journal_is_accepted_unseen() {
        let (dir, journal) = synced(&[1..=2, 3..=3, 4..=6, 7..=7]);
        journal.close().unwrap();
        let sound = find(&dir, 0).unwrap();
        assert_eq!(
            (sound.head.position, sound.torn_tail, sound.headers.len()),
            (7, None, 2)
        );
        for first in segment::list(dir.path()).unwrap() {
            let path = segment::path(dir.path(), first);
            let bytes = fs::read(&path).unwrap();
            for (at, mask) in (0..bytes.len()).flat_map(|at| [(at, 1), (at, 0x80), (at, 0xff)]) {
                let mut changed = bytes.clone();
                changed[at] ^= mask;
                fs::write(&path, changed).unwrap();
                match find(&dir, 0) {
                    Err(Error::Damaged { .. } | Error::Foreign { .. }) => {}
                    Err(other) => panic!("byte {at} of {first}: {other}"),
                    // Only the empty group at the end may go: it holds no entry.
                    Ok(found) => {
                        assert_eq!(found.head, sound.head, "byte {at} of {first}");
                        assert_eq!(found.torn_tail.unwrap().bytes, 32);
                    }
                }
            }
            fs::write(&path, bytes).unwrap();
        }
    }

    #[test]
    fn a_last_group_torn_at_any_byte_is_cut_and_no_other() {
        let (dir, mut journal) = synced(&[1..=2, 3..=3]);
        let path = segment::path(dir.path(), 1);
        let start = fs::metadata(&path).unwrap().len() as usize;
        append(&mut journal, 4..=5);
        journal.write().unwrap();
        drop(journal);
        let bytes = fs::read(&path).unwrap();
        for end in start..bytes.len() {
            fs::write(&path, &bytes[..end]).unwrap();
            let (mut journal, recovered) =
                Journal::create_or_open(dir.path(), 3, segments_of(SMALL)).unwrap();
            assert_eq!(recovered.last_position, 3);
            let cut = recovered
                .torn_tail
                .map(|cut| (cut.position, cut.offset, cut.bytes));
            let torn = (end - start) as u64;
            assert_eq!(cut, (torn > 0).then_some((4, start as u64, torn)));
            append(&mut journal, 4..=4);
            journal.sync().unwrap();
            drop(journal);
            assert_eq!(
                read_all(dir.path()),
                (1..=4).map(duplicate).collect::<Vec<_>>()
            );
        }
        for at in start..bytes.len() {
            let mut zeroed = bytes.clone();
            zeroed[at..].fill(0);
            fs::write(&path, &zeroed).unwrap();
            let found = find(&dir, 3).unwrap();
            assert_eq!(found.head.position, if zeroed == bytes { 5 } else { 3 });
        }
    }

    #[test]
    fn unsynced_groups_after_a_torn_one_go_with_it() {
        let (dir, mut journal) = synced(&[1..=1]);
        for n in 2..=4 {
            append(&mut journal, n..=n);
            journal.write().unwrap();
        }
        drop(journal);
        let path = segment::path(dir.path(), 1);
        let mut bytes = fs::read(&path).unwrap();
        // Each group has 32 + 96 + 21 bytes; this is in the payload of position 2.
        bytes[80 + 149 + 140] ^= 1;
        fs::write(&path, bytes).unwrap();
        let found = find(&dir, 1).unwrap();
        assert_eq!(
            (found.head.position, found.torn_tail.unwrap().bytes),
            (1, 3 * 149)
        );
        let refused = find(&dir, 2).err().unwrap().to_string();
        assert!(refused.contains("a checkpoint stands at 2"), "{refused}");
        assert!(
            refused.contains("damaged at byte 357, position 2"),
            "{refused}"
        );
        assert!(verify(dir.path()).unwrap().torn_tail.is_some());
    }

    #[test]
    fn a_payload_cannot_pose_as_proof_of_a_sync() {
        let (dir, mut journal) = synced(&[1..=1]);
        let forged = GroupHeader {
            n_bytes: 0,
            first_position: 1000,
            synced_position: 999,
        };
        let forged = forged.to_bytes(&[0; 16]);
        journal
            .append(Time(2), &crate::store::journal::fixture::vector(&forged))
            .unwrap();
        journal.write().unwrap();
        let path = segment::path(dir.path(), 1);
        let mut bytes = fs::read(&path).unwrap();
        bytes[80 + 149 + 40] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(find(&dir, 1).unwrap().torn_tail.unwrap().position, 2);
    }

    #[test]
    fn segments_that_do_not_belong_are_refused_in_a_sentence() {
        let check = |change: &dyn Fn(&Path), message: &str| {
            let (dir, journal) = synced(&[1..=5, 6..=10, 11..=15]);
            journal.close().unwrap();
            change(dir.path());
            let error = find(&dir, 0).err().unwrap().to_string();
            assert!(error.contains(message), "{error}");
        };
        let segment = segment::path;
        check(
            &|dir| fs::write(dir.join("notes"), "").unwrap(),
            "notes: not a segment",
        );
        check(
            &|dir| fs::rename(segment(dir, 6), segment(dir, 7)).unwrap(),
            "its name has position 7, its header 6",
        );
        check(
            &|dir| fs::remove_file(segment(dir, 6)).unwrap(),
            "position 6: the journal before it ends at position 5",
        );
        check(
            &|dir| fs::remove_file(segment(dir, 1)).unwrap(),
            "position 1 is not in this journal",
        );
        check(
            &|dir| {
                let (other, _journal) = synced(&[1..=5, 6..=10]);
                fs::copy(segment(other.path(), 6), segment(dir, 6)).unwrap();
            },
            "belongs to another journal",
        );
        check(
            &|dir| {
                let bytes = fs::read(segment(dir, 1)).unwrap();
                fs::write(segment(dir, 1), &bytes[..80]).unwrap();
            },
            "position 1: the journal before it ends at position 0",
        );
    }
}
