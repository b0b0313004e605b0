//! The tokenizer of an encoder's folder: from a text to the numbers of its tokens.
//!
//! Invariant: a text grows by a bounded factor on its way, whatever the file has, and a fault in the
//! library that reads the file is an error and not the end of a thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::{
    NormalizedString, Normalizer, Tokenizer, TruncationDirection, TruncationParams,
    TruncationStrategy,
};

use crate::onnx::Error;

/// Texts are read up to this many bytes; the bytes after them do not count.
const BYTES_MAX: usize = 16 * 1024;
/// Bytes of a text after each step of a normalizer.
const GROWN_BYTES_MAX: usize = 4 * BYTES_MAX;
/// Bytes that one step puts in place of a match, at most; the tables of SentencePiece have 33.
const REPLACED_BYTES_MAX: usize = 64;
/// Steps of a pre-tokenizer that write other characters: each makes a text up to four times as long.
const REWRITES_MAX: usize = 2;

/// A reader from a text to the numbers of its tokens.
pub(crate) struct TokenReader(Tokenizer);

/// The parts of a tokenizer.json that change a text.
#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
}

impl TokenReader {
    /// Reads a tokenizer.json. Texts are cut at `n_tokens` and padded by nothing, whatever its settings.
    ///
    /// # Errors
    /// [`Error::Unsound`] and [`Error::Unsupported`]: the file cannot be used.
    pub(crate) fn new(
        bytes: &[u8],
        n_tokens: usize,
        vocab_size: usize,
    ) -> Result<TokenReader, Error> {
        let parts: Parts =
            serde_json::from_slice(bytes).map_err(|error| Error::Unsound(in_a_line(&error)))?;
        check_replacements(&parts.normalizer)?;
        check_rewrites(&parts.pre_tokenizer)?;
        let unsound = |error: tokenizers::Error| Error::Unsound(in_a_line(&error));
        let mut tokenizer = guarded(|| Tokenizer::from_bytes(bytes)).map_err(unsound)?;
        tokenizer.with_padding(None);
        let truncation = TruncationParams {
            max_length: n_tokens,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
            direction: TruncationDirection::Right,
        };
        tokenizer
            .with_truncation(Some(truncation))
            .map_err(unsound)?;
        let highest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
        if (highest as usize) < vocab_size {
            Ok(TokenReader(tokenizer))
        } else {
            Err(Error::Unsound(format!(
                "it has a token {highest}, and config.json a vocab_size of {vocab_size}"
            )))
        }
    }

    /// A text as tokens, as many as are read.
    ///
    /// # Errors
    /// [`Error::Values`]: the tokenizer refuses it.
    pub(crate) fn tokens(&self, text: &str) -> Result<Vec<u32>, Error> {
        let text = &text[..text.floor_char_boundary(BYTES_MAX)];
        let refused = |error: tokenizers::Error| {
            Error::Values(format!("a text makes no tokens: {}", in_a_line(&error)))
        };
        guarded(|| {
            self.check_growth(text)?;
            self.0.encode_fast(text, true)
        })
        .map(|encoding| encoding.get_ids().to_vec())
        .map_err(refused)
    }

    /// Refuses a text that becomes far longer. Where only one step can make it longer, that bounds it.
    fn check_growth(&self, text: &str) -> tokenizers::Result<()> {
        let mut steps = Vec::new();
        if let Some(normalizer) = self.0.get_normalizer() {
            add_steps(normalizer, &mut steps);
        }
        if steps.iter().filter(|step| grows(step)).count() < 2 {
            return Ok(());
        }
        let mut grown = NormalizedString::from(text);
        for step in steps {
            step.normalize(&mut grown)?;
            if grown.get().len() > GROWN_BYTES_MAX {
                let what = format!("it grows beyond {GROWN_BYTES_MAX} bytes as it is normalized");
                return Err(what.into());
            }
        }
        Ok(())
    }
}

/// The steps of a normalizer, in their order.
fn add_steps<'a>(normalizer: &'a NormalizerWrapper, steps: &mut Vec<&'a NormalizerWrapper>) {
    match normalizer {
        NormalizerWrapper::Sequence(sequence) => {
            for one in sequence.as_ref() {
                add_steps(one, steps);
            }
        }
        one => steps.push(one),
    }
}

/// True for a step that may make a text more than a little longer.
fn grows(step: &NormalizerWrapper) -> bool {
    matches!(
        step,
        NormalizerWrapper::NFKC(_)
            | NormalizerWrapper::NFKD(_)
            | NormalizerWrapper::Nmt(_)
            | NormalizerWrapper::Precompiled(_)
            | NormalizerWrapper::Replace(_)
            | NormalizerWrapper::Prepend(_)
            | NormalizerWrapper::ByteLevel(_)
    )
}

/// Refuses a normalizer with a step that puts long texts in place of short ones.
fn check_replacements(part: &Value) -> Result<(), Error> {
    match part {
        Value::Array(items) => items.iter().try_for_each(check_replacements),
        Value::Object(keys) => keys.iter().try_for_each(|(key, value)| match value {
            Value::String(table) if key == "precompiled_charsmap" => check_table(table),
            Value::String(text)
                if matches!(key.as_str(), "content" | "prepend")
                    && text.len() > REPLACED_BYTES_MAX =>
            {
                too_long(&format!("{key:?} of {} bytes", text.len()))
            }
            value => check_replacements(value),
        }),
        _ => Ok(()),
    }
}

/// Refuses a table of SentencePiece that is cut short, or replaces a character by a long text: a number of
/// bytes, as many bytes of a tree, and texts that end in zeros.
fn check_table(table: &str) -> Result<(), Error> {
    let bytes = STANDARD.decode(table).unwrap_or_default();
    let texts = bytes.split_first_chunk().and_then(|(length, rest)| {
        let length = u32::from_le_bytes(*length) as usize;
        rest.get(length..)
    });
    let Some(texts) = texts else {
        let what = "normalizer: its precompiled_charsmap is cut short";
        return Err(Error::Unsound(what.to_owned()));
    };
    let longest = texts.split(|byte| *byte == 0).map(<[u8]>::len).max();
    match longest {
        Some(n_bytes) if n_bytes > REPLACED_BYTES_MAX => {
            too_long(&format!("a replacement of {n_bytes} bytes"))
        }
        _ => Ok(()),
    }
}

fn too_long(what: &str) -> Result<(), Error> {
    Err(Error::Unsupported(format!(
        "normalizer: {what}, expected at most {REPLACED_BYTES_MAX}"
    )))
}

/// Refuses a pre-tokenizer that writes a text anew again and again.
fn check_rewrites(part: &Value) -> Result<(), Error> {
    let n_rewrites = n_rewrites(part);
    if n_rewrites > REWRITES_MAX {
        return Err(Error::Unsupported(format!(
            "pre_tokenizer: {n_rewrites} steps write other characters, expected at most {REWRITES_MAX}"
        )));
    }
    Ok(())
}

fn n_rewrites(part: &Value) -> usize {
    match part {
        Value::Array(items) => items.iter().map(n_rewrites).sum(),
        Value::Object(keys) => {
            let kind = keys.get("type").and_then(Value::as_str);
            let own = matches!(kind, Some("ByteLevel" | "Metaspace"));
            usize::from(own) + keys.values().map(n_rewrites).sum::<usize>()
        }
        _ => 0,
    }
}

/// The result of the library, whose panics are faults of the file.
fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    let panicked = |_| Err("the library that reads it has panicked".into());
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked)
}

fn in_a_line(error: &dyn std::fmt::Display) -> String {
    error.to_string().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A tokenizer of single letters.
    fn reader(normalizer: Value, pre_tokenizer: Value) -> Result<TokenReader, Error> {
        let file = json!({
            "version": "1.0", "added_tokens": [], "decoder": null, "post_processor": null,
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [], "unk_token": "b"},
        });
        TokenReader::new(file.to_string().as_bytes(), 8, 9)
    }

    fn replace(pattern: &str, content: &str) -> Value {
        json!({"type": "Replace", "pattern": {"String": pattern}, "content": content})
    }

    fn sequence(steps: Vec<Value>) -> Value {
        json!({"type": "Sequence", "normalizers": steps})
    }

    #[test]
    fn p8_a_text_does_not_grow_without_bound() {
        let plain = reader(Value::Null, Value::Null).unwrap();
        assert_eq!(plain.tokens("aba").unwrap(), [0, 1, 0]);
        let doubling = sequence(vec![replace("a", "aa"); 40]);
        let reader_of = reader(doubling, Value::Null).unwrap();
        assert_eq!(reader_of.tokens("b").unwrap(), [1]);
        let refused = reader_of.tokens("a").unwrap_err().to_string();
        let expected = "it grows beyond 65536 bytes as it is normalized";
        assert!(refused.ends_with(expected), "{refused}");
        let check = |normalizer: Value, expected: &str| {
            let refused = reader(normalizer, Value::Null).err().unwrap().to_string();
            assert!(refused.contains(expected), "{refused}");
        };
        let long = "a".repeat(65);
        check(
            replace("a", &long),
            "\"content\" of 65 bytes, expected at most 64",
        );
        check(
            sequence(vec![json!({"type": "Prepend", "prepend": long})]),
            "\"prepend\" of 65 bytes",
        );
        let table = |bytes: &[u8]| {
            let table = STANDARD.encode(bytes);
            json!({"type": "Precompiled", "precompiled_charsmap": table})
        };
        let cut = "precompiled_charsmap is cut short";
        check(table(&[0xff; 4]), cut);
        check(table(&[]), cut);
        let long = [&[4, 0, 0, 0, 0, 0, 0, 0], &[b'a'; 65][..], &[0]].concat();
        check(table(&long), "a replacement of 65 bytes");
        let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": true});
        let levels = json!({"type": "Sequence", "pretokenizers": vec![level; 3]});
        let refused = reader(Value::Null, levels).err().unwrap().to_string();
        let expected = "3 steps write other characters, expected at most 2";
        assert!(refused.contains(expected), "{refused}");
    }

    #[test]
    fn p9_a_panic_of_the_library_is_a_fault_of_the_file() {
        // Its tree leads out of itself.
        let leads_out = [&[4, 0, 0, 0], &[0xff; 4][..], b"a\0"].concat();
        let table = STANDARD.encode(leads_out);
        let table = json!({"type": "Precompiled", "precompiled_charsmap": table});
        let refused = match reader(table, Value::Null) {
            Ok(reader) => reader.tokens("ab").unwrap_err().to_string(),
            Err(refused) => refused.to_string(),
        };
        let expected = "the library that reads it has panicked";
        assert!(refused.contains(expected), "{refused}");
    }
}
