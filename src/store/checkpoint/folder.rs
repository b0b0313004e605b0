//! The folder of a checkpoint, with its three files, and the folder of all of them.
//!
//! Invariant: a folder gets and loses its final name in one step, with everything in it synced.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::manifest::{Manifest, UNNAMED};
use super::tensors::{check_finite, read_tensors, write_tensors};
use crate::model::weights::Tensors;
use crate::store::disk::Disk;
use crate::store::error::{Error, Malformed};
use crate::store::regular;

const MANIFEST: &str = "manifest.json";
const WEIGHTS: &str = "weights.safetensors";
const LEARNER: &str = "learner.safetensors";

/// Folders that are being written, replaced or removed: a crash may leave them.
const PASSING: [&str; 3] = [PARTIAL, REPLACED, REMOVED];
const PARTIAL: &str = ".partial-";
const REPLACED: &str = ".replaced-";
const REMOVED: &str = ".removed-";

/// A manifest is read for every listing.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// A file is read into memory whole.
const TENSORS_BYTES_MAX: u64 = 8 << 30;

/// A checkpoint as it was found.
#[derive(Debug)]
pub struct ListedCheckpoint {
    /// Its position, from the folder's name.
    pub position: u64,
    /// Its manifest, or the reason that it cannot be read.
    pub manifest: Result<Manifest, Error>,
}

/// A state to go on from.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Its manifest.
    pub manifest: Manifest,
    /// The weights that are served; every value is finite.
    pub weights: Tensors,
    /// Everything else that is needed to go on bit for bit.
    pub learner: Tensors,
}

/// Saves a checkpoint at the manifest's position, and gives the manifest as it was written. A frozen
/// state is saved by its version; those have a folder of their own.
///
/// One with the reason `stop` or `retain` is replaced, since it names no version.
///
/// # Errors
/// [`Error::Exists`]: there is another at this position. [`Error::Checkpoint`]: the state is not
/// one that [`load`] would take. [`Error::Io`]: the disk refused; a checkpoint that was there
/// before is still there, at the latest after `sweep`.
pub fn save(
    disk: &Disk,
    checkpoints: &Path,
    manifest: Manifest,
    weights: &Tensors,
    learner: &Tensors,
) -> Result<Manifest, Error> {
    let position = manifest.number();
    let target = checkpoints.join(name(position));
    if target.exists()
        && read_manifest(checkpoints, position)
            .ok()
            .is_none_or(|m| !UNNAMED.contains(&m.reason.as_str()))
    {
        return Err(Error::Exists { path: target });
    }
    replace(disk, checkpoints, manifest, weights, learner)
}

/// Saves a checkpoint in place of whatever stands there.
///
/// # Errors
/// As [`save`], but for [`Error::Exists`].
pub fn replace(
    disk: &Disk,
    checkpoints: &Path,
    mut manifest: Manifest,
    weights: &Tensors,
    learner: &Tensors,
) -> Result<Manifest, Error> {
    let position = manifest.number();
    let target = checkpoints.join(name(position));
    let partial = passing(checkpoints, PARTIAL, position);
    disk.create_folder(checkpoints)?;
    disk.remove_folder(&partial)?;
    disk.create_folder(&partial)?;

    check_finite(weights).map_err(refused(&target.join(WEIGHTS)))?;
    manifest.format = manifest.format();
    manifest.metrics.retain(|_, value| value.is_finite());
    manifest.files = BTreeMap::new();
    for (file, tensors) in [(WEIGHTS, weights), (LEARNER, learner)] {
        let bytes = write_tensors(tensors).map_err(refused(&target.join(file)))?;
        let digest = blake3::hash(&bytes).to_hex().to_string();
        manifest.files.insert(file.to_owned(), digest);
        disk.write_file(&partial.join(file), &bytes)?;
    }
    manifest.check().map_err(refused(&target.join(MANIFEST)))?;
    disk.write_file(&partial.join(MANIFEST), &manifest.to_bytes())?;
    disk.sync_folder(&partial)?;

    let replaced = passing(checkpoints, REPLACED, position);
    if target.exists() {
        disk.remove_folder(&replaced)?;
        disk.rename(&target, &replaced)?;
    }
    disk.rename(&partial, &target)?;
    disk.remove_folder(&replaced)?;
    Ok(manifest)
}

/// The checkpoints in this folder, in order of position. Only manifests are read.
///
/// # Errors
/// [`Error::Foreign`]: something else is there. [`Error::Io`]: the folder cannot be read.
pub fn list(checkpoints: &Path) -> Result<Vec<ListedCheckpoint>, Error> {
    let listed = positions(checkpoints)?
        .into_iter()
        .map(|position| ListedCheckpoint {
            position,
            manifest: manifest(checkpoints, position),
        });
    Ok(listed.collect())
}

/// The positions of the checkpoints in this folder, rising.
///
/// # Errors
/// As [`list`].
pub fn positions(checkpoints: &Path) -> Result<Vec<u64>, Error> {
    let mut positions = Vec::new();
    for (path, file_name) in names(checkpoints)? {
        if PASSING.iter().any(|prefix| file_name.starts_with(prefix)) {
            continue;
        }
        let position = position(&file_name)
            .ok_or_else(|| Error::foreign(&path, "not a checkpoint; move it out of this folder"))?;
        positions.push(position);
    }
    positions.sort_unstable();
    Ok(positions)
}

/// Reads the manifest of the checkpoint at a position.
///
/// # Errors
/// [`Error::Checkpoint`] and [`Error::Io`]: that cannot be known.
pub fn manifest(checkpoints: &Path, position: u64) -> Result<Manifest, Error> {
    read_manifest(checkpoints, position)
}

/// Loads the checkpoint at a position: each file is compared with its digest, then checked as if
/// a stranger had sent it.
///
/// # Errors
/// [`Error::Checkpoint`]: a file differs from the written one. [`Error::Io`]: it cannot be read.
pub fn load(checkpoints: &Path, position: u64) -> Result<Checkpoint, Error> {
    let folder = checkpoints.join(name(position));
    let manifest = read_manifest(checkpoints, position)?;
    let tensors = |file: &str| {
        let path = folder.join(file);
        let bytes = regular::read(checkpoints, &path, TENSORS_BYTES_MAX)
            .map_err(Error::io(&path, "read it"))?;
        let digest = blake3::hash(&bytes).to_hex();
        if manifest.files.get(file).map(String::as_str) != Some(digest.as_str()) {
            let what = "the file is not the one that the manifest names".to_owned();
            return Err(refused(&path)(Malformed(what)));
        }
        read_tensors(&bytes).map_err(refused(&path))
    };
    let weights = tensors(WEIGHTS)?;
    check_finite(&weights).map_err(refused(&folder.join(WEIGHTS)))?;
    let learner = tensors(LEARNER)?;
    Ok(Checkpoint {
        manifest,
        weights,
        learner,
    })
}

/// Removes the checkpoint at a position, if it is there; it is gone whole, whatever happens
/// meanwhile.
///
/// # Errors
/// [`Error::Io`]: the disk refused.
pub fn remove(disk: &Disk, checkpoints: &Path, position: u64) -> Result<(), Error> {
    let removed = passing(checkpoints, REMOVED, position);
    disk.remove_folder(&removed)?;
    let folder = checkpoints.join(name(position));
    match disk.rename(&folder, &removed) {
        // Another has removed it since it was listed.
        Err(_) if !folder.exists() => Ok(()),
        renamed => {
            renamed?;
            disk.remove_folder(&removed)
        }
    }
}

/// Completes the changes that a crash interrupted: restores a folder that was about to be replaced,
/// and removes folders that are not whole. Returns their number.
///
/// # Errors
/// [`Error::Io`]: the disk refused.
pub(crate) fn sweep(disk: &Disk, checkpoints: &Path) -> Result<usize, Error> {
    let mut n_found = 0;
    for (path, file_name) in names(checkpoints)? {
        if !PASSING.iter().any(|prefix| file_name.starts_with(prefix)) {
            continue;
        }
        n_found += 1;
        match file_name.strip_prefix(REPLACED) {
            Some(name) if !checkpoints.join(name).exists() => {
                disk.rename(&path, &checkpoints.join(name))?;
            }
            _ => disk.remove_folder(&path)?,
        }
    }
    Ok(n_found)
}

fn name(position: u64) -> String {
    format!("{position:020}")
}

fn position(name: &str) -> Option<u64> {
    let sound = name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|_| sound)
}

fn passing(checkpoints: &Path, prefix: &str, position: u64) -> PathBuf {
    checkpoints.join(format!("{prefix}{}", name(position)))
}

/// The content of the folder; nothing when there is no folder yet.
fn names(checkpoints: &Path) -> Result<Vec<(PathBuf, String)>, Error> {
    let failed = |error| Error::io(checkpoints, "list it")(error);
    let entries = match fs::read_dir(checkpoints) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let names = entries.map(|entry| {
        let entry = entry.map_err(failed)?;
        Ok((
            entry.path(),
            entry.file_name().to_string_lossy().into_owned(),
        ))
    });
    names.collect()
}

fn read_manifest(checkpoints: &Path, position: u64) -> Result<Manifest, Error> {
    let path = checkpoints.join(name(position)).join(MANIFEST);
    let bytes = regular::read(checkpoints, &path, MANIFEST_BYTES_MAX)
        .map_err(Error::io(&path, "read it"))?;
    let manifest = Manifest::parse(&bytes).map_err(refused(&path))?;
    if manifest.number() != position {
        let got = manifest.number();
        let what = format!("the manifest is of position {got}, its folder of {position}");
        return Err(refused(&path)(Malformed(what)));
    }
    Ok(manifest)
}

fn refused(path: &Path) -> impl FnOnce(Malformed) -> Error {
    let path = path.to_owned();
    move |malformed| Error::Checkpoint { path, malformed }
}

#[cfg(test)]
mod tests {
    use tempfile::{TempDir, tempdir};

    use super::*;

    fn manifest(position: u64, reason: &str) -> Manifest {
        Manifest {
            model: "fraud".into(),
            position,
            reason: reason.into(),
            metrics: BTreeMap::from([("loss".into(), 0.25), ("none".into(), f64::NAN)]),
            ..Manifest::default()
        }
    }

    fn weights(value: f32) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.put_f32("0.weight", &[1, 2], vec![value, 2.0]);
        tensors
    }

    fn learner() -> Tensors {
        let mut tensors = Tensors::default();
        tensors.put_f64("best", &[1], vec![f64::NEG_INFINITY]);
        tensors
    }

    fn saved(position: u64, reason: &str) -> (TempDir, Manifest) {
        let dir = tempdir().unwrap();
        let written = save(
            &Disk::default(),
            dir.path(),
            manifest(position, reason),
            &weights(1.0),
            &learner(),
        );
        (dir, written.unwrap())
    }

    fn file_names(dir: &Path) -> Vec<String> {
        let mut found: Vec<_> = names(dir)
            .unwrap()
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        found.sort();
        found
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let (dir, written) = saved(7, "cadence");
        let loaded = load(dir.path(), 7).unwrap();
        assert_eq!(loaded.manifest, written);
        assert_eq!((loaded.weights, loaded.learner), (weights(1.0), learner()));
        assert_eq!(written.format, 1);
        assert_eq!(written.metrics, BTreeMap::from([("loss".to_owned(), 0.25)]));
        let folder = dir.path().join("00000000000000000007");
        assert_eq!(file_names(&folder), [LEARNER, MANIFEST, WEIGHTS]);
        assert_eq!(file_names(dir.path()).len(), 1);
    }

    #[test]
    fn a_changed_byte_in_any_file_is_refused_with_its_name() {
        let (dir, _) = saved(7, "cadence");
        let folder = dir.path().join("00000000000000000007");
        for file in [MANIFEST, WEIGHTS, LEARNER] {
            let path = folder.join(file);
            let bytes = fs::read(&path).unwrap();
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                fs::write(&path, changed).unwrap();
                match load(dir.path(), 7) {
                    Err(Error::Checkpoint { path: named, .. }) => assert_eq!(named, path),
                    other => panic!("byte {at} of {file}: {other:?}"),
                }
            }
            fs::write(&path, &bytes[1..]).unwrap();
            assert!(load(dir.path(), 7).is_err(), "{file}");
            fs::remove_file(&path).unwrap();
            assert!(load(dir.path(), 7).is_err(), "{file}");
            fs::write(&path, &bytes).unwrap();
        }
        load(dir.path(), 7).unwrap();
    }

    #[test]
    fn only_a_stop_is_replaced() {
        let (dir, _) = saved(7, "stop");
        save(
            &Disk::default(),
            dir.path(),
            manifest(7, "checkpoint"),
            &weights(5.0),
            &learner(),
        )
        .unwrap();
        assert_eq!(load(dir.path(), 7).unwrap().weights, weights(5.0));
        let again = save(
            &Disk::default(),
            dir.path(),
            manifest(7, "stop"),
            &weights(6.0),
            &learner(),
        );
        assert!(matches!(again, Err(Error::Exists { .. })));
        assert_eq!(load(dir.path(), 7).unwrap().weights, weights(5.0));
        assert_eq!(file_names(dir.path()), ["00000000000000000007"]);
    }

    #[test]
    fn a_state_that_would_not_be_loaded_is_not_saved() {
        let dir = tempdir().unwrap();
        let check = |manifest, weights: &Tensors, message: &str| {
            let error =
                save(&Disk::default(), dir.path(), manifest, weights, &learner()).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
            assert!(list(dir.path()).unwrap().is_empty());
        };
        let infinite = "\"0.weight\" has a value at index 0 that is not finite";
        check(manifest(1, "stop"), &weights(f32::INFINITY), infinite);
        check(manifest(1, "stop"), &weights(f32::NAN), infinite);
        check(
            manifest(1, "whim"),
            &weights(1.0),
            "manifest.json: reason \"whim\"",
        );
    }

    #[test]
    fn the_list_is_in_order_and_shows_what_is_damaged() {
        let (dir, _) = saved(10, "initial");
        assert!(list(&dir.path().join("none")).unwrap().is_empty());
        for position in [9, 100] {
            save(
                &Disk::default(),
                dir.path(),
                manifest(position, "stop"),
                &weights(1.0),
                &learner(),
            )
            .unwrap();
        }
        let nine = dir.path().join("00000000000000000009");
        fs::write(nine.join(MANIFEST), "{}").unwrap();
        let found = list(dir.path()).unwrap();
        let sound: Vec<_> = found
            .iter()
            .map(|l| (l.position, l.manifest.is_ok()))
            .collect();
        assert_eq!(sound, [(9, false), (10, true), (100, true)]);
        fs::rename(&nine, dir.path().join("00000000000000000100").join("x")).unwrap();
        fs::rename(dir.path().join("00000000000000000100"), &nine).unwrap();
        let error = list(dir.path())
            .unwrap()
            .remove(0)
            .manifest
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("manifest is of position 100, its folder of 9"),
            "{error}"
        );
        fs::write(dir.path().join("notes"), "").unwrap();
        assert!(matches!(list(dir.path()), Err(Error::Foreign { .. })));
    }

    #[test]
    fn what_a_crash_left_is_swept_and_a_replaced_one_put_back() {
        let (dir, _) = saved(7, "stop");
        let replaced = passing(dir.path(), REPLACED, 7);
        fs::rename(dir.path().join(name(7)), replaced).unwrap();
        for (prefix, position) in [(PARTIAL, 7), (PARTIAL, 8), (REMOVED, 3)] {
            let folder = passing(dir.path(), prefix, position);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join(WEIGHTS), "half").unwrap();
        }
        assert!(list(dir.path()).unwrap().is_empty());
        assert_eq!(sweep(&Disk::default(), dir.path()).unwrap(), 4);
        assert_eq!(file_names(dir.path()), [name(7)]);
        load(dir.path(), 7).unwrap();
        assert_eq!(sweep(&Disk::default(), dir.path()).unwrap(), 0);
        fs::create_dir(passing(dir.path(), PARTIAL, 9)).unwrap();
        save(
            &Disk::default(),
            dir.path(),
            manifest(9, "stop"),
            &weights(1.0),
            &learner(),
        )
        .unwrap();
        remove(&Disk::default(), dir.path(), 7).unwrap();
        // A second removal finds it gone, as was wanted.
        remove(&Disk::default(), dir.path(), 7).unwrap();
        assert_eq!(file_names(dir.path()), [name(9)]);
    }
}
