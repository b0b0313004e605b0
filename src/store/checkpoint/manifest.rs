//! The manifest of a checkpoint, in JSON that people and other programs can read.
//!
//! Invariant: a manifest that parses is, byte for byte, the one that was written: its last field
//! is the BLAKE3 of all bytes before that field.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::store::error::Malformed;

/// The newest format; the first one has neither `erased_by` nor `frozen_at`, the second has no
/// `frozen_at`, and each is written where those are 0.
const FORMAT: u32 = 3;

const REASONS: [&str; 12] = [
    "initial",
    "checkpoint",
    "cadence",
    "restore",
    "retract",
    "adopt",
    "contender",
    "rewind",
    "retrain",
    "champion",
    STOP,
    RETAIN,
];

/// The reason that a checkpoint written at a clean stop gives.
pub(crate) const STOP: &str = "stop";
/// The reason that one gives which retention asked for.
pub(crate) const RETAIN: &str = "retain";
/// The reasons that make no version.
pub(crate) const UNNAMED: [&str; 2] = [STOP, RETAIN];

/// The manifest of a checkpoint. Digests are in lower-case hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this format: 1, 2 with `erased_by`, or 3 with `frozen_at`; set when it is saved.
    pub format: u32,
    /// The model's name.
    pub model: String,
    /// The journal that the positions are of.
    pub journal_id: String,
    /// The version that the state is, or descends from.
    pub version: u64,
    /// The parent of the version; 0 for the first.
    pub parent: u64,
    /// The last position that the state has learned from.
    pub position: u64,
    /// The journal time of that position, in microseconds since the Unix epoch.
    pub time_us: i64,
    /// The reason of the version: initial, checkpoint, cadence, restore, retract, adopt, contender, rewind,
    /// champion, stop or retain.
    pub reason: String,
    /// The reason in an operator's words.
    pub note: String,
    /// The operator who ordered it; empty for none.
    pub actor: String,
    /// BLAKE3 of the text of model.toml.
    pub description: String,
    /// Name and version of the program.
    pub build: String,
    /// The numeric profile: the settings, besides the journal, on which the bits of a result depend.
    pub profile: String,
    /// The digest of the learned state.
    pub digest: String,
    /// The journal's chain at the position.
    pub chain: String,
    /// Metrics of the state; values that are not finite are omitted when it is saved.
    pub metrics: BTreeMap<String, f64>,
    /// The position of the order whose erasure has rewritten this checkpoint; 0 where none has. It
    /// then holds the learned state, as before, and nothing else that feedback led to: a restore
    /// takes it, and no state is gone on from it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub erased_by: u64,
    /// The position up to which the state has learned, where that is a copy which an order brought
    /// beside the candidate; 0 otherwise. A restore takes it, and no state is gone on from it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub frozen_at: u64,
    /// BLAKE3 of each file beside the manifest, by name; set when it is saved.
    pub files: BTreeMap<String, String>,
}

fn is_zero(position: &u64) -> bool {
    *position == 0
}

impl Manifest {
    /// The format that can hold it.
    pub(super) fn format(&self) -> u32 {
        match (self.erased_by, self.frozen_at) {
            (0, 0) => 1,
            (_, 0) => 2,
            _ => FORMAT,
        }
    }

    /// The number that its folder is named by: the position, or the version of a frozen state, of which
    /// several may stand at a position.
    pub(super) fn number(&self) -> u64 {
        match self.frozen_at {
            0 => self.position,
            _ => self.version,
        }
    }

    /// The bytes of the file.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let json = serde_json::to_string_pretty(self).expect("texts and numbers make JSON");
        let fields = json.strip_suffix("\n}").expect("a pretty object ends so");
        let sealed = format!("{fields},\n");
        format!("{sealed}{}", seal(&sealed)).into_bytes()
    }

    pub(in crate::store) fn parse(bytes: &[u8]) -> Result<Manifest, Malformed> {
        let changed = || Malformed("the manifest is not the one written".to_owned());
        let text = std::str::from_utf8(bytes).map_err(|_| changed())?;
        let start = text.rfind("  \"checksum\"").ok_or_else(changed)?;
        let (sealed, last) = text.split_at(start);
        if last != seal(sealed) {
            return Err(changed());
        }
        let fields = sealed.strip_suffix(",\n").ok_or_else(changed)?;
        let json = format!("{fields}\n}}");
        let malformed = |error: serde_json::Error| Malformed(error.to_string());
        let ManifestFormat { format } = serde_json::from_str(&json).map_err(malformed)?;
        if !(1..=FORMAT).contains(&format) {
            return Err(Malformed(format!(
                "manifest format {format}, expected at most {FORMAT}; \
                 a newer version of the program wrote it"
            )));
        }
        let manifest: Manifest = serde_json::from_str(&json).map_err(malformed)?;
        manifest.check()?;
        if manifest.format != manifest.format() {
            let got = manifest.format;
            return Err(Malformed(format!(
                "format {got} of a manifest that has another"
            )));
        }
        Ok(manifest)
    }

    pub(super) fn check(&self) -> Result<(), Malformed> {
        if !REASONS.contains(&self.reason.as_str()) {
            let (got, known) = (&self.reason, REASONS.join(", "));
            return Err(Malformed(format!(
                "reason {got:?}, expected one of {known}"
            )));
        }
        Ok(())
    }
}

/// Read first: the fields of another format are not known.
#[derive(Deserialize)]
struct ManifestFormat {
    format: u32,
}

fn seal(sealed: &str) -> String {
    let checksum = blake3::hash(sealed.as_bytes()).to_hex();
    format!("  \"checksum\": \"{checksum}\"\n}}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        Manifest {
            format: 1,
            model: "fraud".into(),
            version: 3,
            position: 41,
            time_us: -1,
            reason: "cadence".into(),
            note: "a note that says\n  \"checksum\": \"x\"".into(),
            metrics: BTreeMap::from([("accuracy".into(), 0.1 + 0.2), ("loss".into(), 1e-300)]),
            ..Manifest::default()
        }
    }

    #[test]
    fn a_manifest_is_json_and_is_read_back() {
        let bytes = sample().to_bytes();
        assert_eq!(Manifest::parse(&bytes), Ok(sample()));
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["version"], 3);
        assert_eq!(json["checksum"].as_str().map(str::len), Some(64));
    }

    #[test]
    fn one_that_an_erasure_has_rewritten_says_so() {
        let rewritten = Manifest {
            format: 2,
            erased_by: 50,
            ..sample()
        };
        let bytes = rewritten.to_bytes();
        assert_eq!(Manifest::parse(&bytes), Ok(rewritten.clone()));
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["erased_by"], 50);
        let first = Manifest {
            format: 1,
            ..rewritten
        };
        assert!(Manifest::parse(&first.to_bytes()).is_err());
    }

    #[test]
    fn no_changed_bit_and_no_truncation_is_accepted() {
        let bytes = sample().to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::parse(&changed).is_err(), "bit {bit}");
        }
        for end in 0..bytes.len() {
            assert!(Manifest::parse(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn another_format_and_unknown_keys_are_refused_in_a_sentence() {
        let check = |from: &str, to: &str, message: &str| {
            let text = String::from_utf8(sample().to_bytes())
                .unwrap()
                .replace(from, to);
            let sealed = &text[..text.rfind("  \"checksum\"").unwrap()];
            let error = Manifest::parse(format!("{sealed}{}", seal(sealed)).as_bytes());
            let error = error.unwrap_err();
            assert!(error.0.starts_with(message), "{error}");
        };
        check(
            "\"format\": 1",
            "\"format\": 4, \"new\": 0",
            "manifest format 4, expected at most 3;",
        );
        check(
            "\"format\": 1",
            "\"format\": 1, \"new\": 0",
            "unknown field `new`",
        );
        check(
            "cadence",
            "whim",
            "reason \"whim\", expected one of initial,",
        );
    }
}
