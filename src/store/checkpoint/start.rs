//! The initial weights of a model: a file from elsewhere, kept as it was.
//!
//! Invariant: loaded weights have the digest that the description pins, so a history can be applied
//! from its first entry with nothing but the data directory.

use std::path::Path;

use super::tensors::read_foreign;
use crate::model::weights::Foreign;
use crate::store::disk::Disk;
use crate::store::error::Error;
use crate::store::regular;

/// The weights that a model can start with: the file is read into memory whole.
pub const FOREIGN_BYTES_MAX: u64 = 4 << 30;
/// Room for the vocabulary of a tokenizer.
const TEXT_BYTES_MAX: u64 = 256 << 20;
/// The largest message of protobuf.
const ONNX_BYTES_MAX: u64 = 2 << 30;

/// Keeps the bytes of a file that fits at this path, durably.
///
/// # Errors
/// [`Error::Io`]: the disk refused.
pub fn keep_file(disk: &Disk, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = path.parent().expect("a file lies in a folder");
    let kept = regular::read(folder, path, FOREIGN_BYTES_MAX);
    if kept.is_ok_and(|kept| kept == bytes) {
        return Ok(());
    }
    let partial = path.with_extension("partial");
    disk.create_folder(folder)?;
    disk.remove(&partial)?;
    disk.write_file(&partial, bytes)?;
    disk.rename(&partial, path)
}

/// Loads the initial weights, if they have the pinned digest.
///
/// # Errors
/// [`Error::Foreign`]: it is another file. [`Error::Io`]: it cannot be read.
pub fn load_start(path: &Path, digest: &blake3::Hash) -> Result<Foreign, Error> {
    let folder = path.parent().expect("a file lies in a folder");
    let bytes = read_whole(folder, path, FOREIGN_BYTES_MAX)?;
    if blake3::hash(&bytes) != *digest {
        return Err(Error::foreign(
            path,
            "not the weights that the model started with; restore the file from a copy",
        ));
    }
    read_foreign(&bytes).map_err(|malformed| Error::foreign(path, malformed.0))
}

/// Reads a safetensors file of another program: its bytes, and their content. As for the
/// files below, no link may lead out of `root`.
///
/// # Errors
/// [`Error::Foreign`]: no such file. [`Error::Io`]: it cannot be read, or is too large.
pub(crate) fn read_foreign_file(root: &Path, path: &Path) -> Result<(Vec<u8>, Foreign), Error> {
    let bytes = read_whole(root, path, FOREIGN_BYTES_MAX)?;
    let foreign = read_foreign(&bytes).map_err(|malformed| Error::foreign(path, malformed.0))?;
    Ok((bytes, foreign))
}

/// Reads a file of text that something else wrote, as its bytes.
///
/// # Errors
/// [`Error::Io`]: it cannot be read, or is too large.
pub(crate) fn read_text_file(root: &Path, path: &Path) -> Result<Vec<u8>, Error> {
    read_whole(root, path, TEXT_BYTES_MAX)
}

/// Reads an ONNX file as its bytes.
///
/// # Errors
/// As [`read_text_file`].
pub(crate) fn read_onnx_file(root: &Path, path: &Path) -> Result<Vec<u8>, Error> {
    read_whole(root, path, ONNX_BYTES_MAX)
}

fn read_whole(root: &Path, path: &Path, n_bytes_max: u64) -> Result<Vec<u8>, Error> {
    regular::read(root, path, n_bytes_max).map_err(Error::io(path, "read it"))
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::super::tensors::write_tensors;
    use super::*;
    use crate::model::weights::Tensors;

    #[test]
    fn what_is_kept_is_loaded_only_with_its_digest() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("m").join("start.safetensors");
        let file = |value: f32| {
            let mut tensors = Tensors::default();
            tensors.put_f32("0.bias", &[1], vec![value]);
            write_tensors(&tensors).unwrap()
        };
        let disk = Disk::default();
        keep_file(&disk, &path, &file(1.0)).unwrap();
        keep_file(&disk, &path, &file(2.0)).unwrap();
        keep_file(&disk, &path, &file(2.0)).unwrap();
        let digest = |value| blake3::hash(&file(value));
        let kept = load_start(&path, &digest(2.0)).unwrap();
        assert_eq!(kept.tensors.0["0.bias"].shape, [1]);
        let advice = "not the weights that the model started with; restore the file from a copy";
        let error = load_start(&path, &digest(1.0)).unwrap_err().to_string();
        assert!(error.ends_with(advice), "{error}");
        std::fs::write(&path, b"short").unwrap();
        let error = load_start(&path, &digest(2.0)).unwrap_err().to_string();
        assert!(error.ends_with(advice), "{error}");
    }
}
