//! A learner's state at a position, on disk.
//!
//! Invariant: a checkpoint under its final name is whole and durable, and a state loaded from it
//! equals the saved one; anything else is refused with the file's name.
//!
//! A folder is named by its position in 20 digits, that of a frozen state by its version, and holds three
//! files. While it is written,
//! replaced or removed its name starts with `.partial-`, `.replaced-` or `.removed-`: a crash may
//! leave such folders, and `sweep` ends the interrupted removal.
//!
//! | file | bytes |
//! | --- | --- |
//! | `manifest.json` | the fields of [`Manifest`] in their order, as `serde_json` prints them pretty, two spaces deep; then `,\n` and as last field `  "checksum": "..."\n}\n`: BLAKE3, in hexadecimal digits, of all bytes before it. `files` holds BLAKE3 of the two other files |
//! | `weights.safetensors` | safetensors: the length of a JSON header as `u64`, the header, little-endian values without gaps; names as PyTorch's `nn.Sequential` gives them; every value is finite |
//! | `learner.safetensors` | the same for all else: `description.*`, `world.*` and `learned.*`; numbers are F32, F64, U32, U64, and texts and digests U8 |
//!
//! The meaning of each tensor of `learner.safetensors` is documented where it is saved, in the room
//! `learn`.

mod folder;
mod manifest;
mod start;
mod tensors;

pub(crate) use folder::sweep;
pub use folder::{
    Checkpoint, ListedCheckpoint, list, load, manifest, positions, remove, replace, save,
};
pub use manifest::Manifest;
pub(crate) use manifest::{RETAIN, STOP, UNNAMED};
pub use start::{FOREIGN_BYTES_MAX, keep_file, load_start};
pub(crate) use start::{read_foreign_file, read_onnx_file, read_text_file};
pub(super) use tensors::read_foreign;
pub(crate) use tensors::{read_tensors, write_tensors};
