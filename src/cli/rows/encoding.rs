//! Encodings: bytes of a file to UTF-8.
//!
//! Invariant: what is handed on is UTF-8, or bytes of which each line is judged alone: UTF-8 where it
//! is valid, Windows-1252 otherwise.

use std::io::{self, Read};

use encoding_rs::{Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::recognised::{is_utf_16, zeros};

/// Bytes that are decoded at a time.
const STEP_BYTES: usize = 1 << 14;

/// How the bytes of a file become text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Decoding {
    /// Each line alone: UTF-8 if it is valid, else Windows-1252.
    ByLine,
    /// UTF-8, and nothing else.
    Utf8,
    /// All of it.
    Whole(&'static Encoding),
}

/// The encoding of this name, as it may be written in several ways.
pub(crate) fn find(name: &str) -> Option<&'static Encoding> {
    let plain: String = name.chars().filter(|c| !matches!(c, '-' | '_')).collect();
    let dashed = plain.to_ascii_lowercase().replace("utf", "utf-");
    [name, &plain, &dashed]
        .into_iter()
        .find_map(|name| Encoding::for_label(name.as_bytes()))
}

/// The decoding of a file that begins with these bytes, in the encoding that was named, if any.
pub(super) fn decoding(head: &[u8], named: Option<&'static Encoding>) -> Decoding {
    let marked = Encoding::for_bom(head).map(|(encoding, _)| encoding);
    match (named, marked) {
        (Some(encoding), _) if encoding == UTF_8 => Decoding::Utf8,
        (Some(encoding), _) => Decoding::Whole(encoding),
        (None, Some(encoding)) if encoding != UTF_8 => Decoding::Whole(encoding),
        (None, None) if is_utf_16(head) => match zeros(head) {
            Some(0) => Decoding::Whole(UTF_16BE),
            _ => Decoding::Whole(UTF_16LE),
        },
        (None, _) => Decoding::ByLine,
    }
}

/// A line that is not UTF-8, as text.
pub(super) fn windows_1252(line: &[u8]) -> String {
    WINDOWS_1252
        .decode_without_bom_handling(line)
        .0
        .into_owned()
}

/// Bytes in another encoding, read as UTF-8.
pub(super) struct Transcoder<R> {
    bytes: R,
    decoder: Decoder,
    packed: Vec<u8>,
    text: Vec<u8>,
    n_taken: usize,
    is_over: bool,
}

impl<R: Read> Transcoder<R> {
    /// Reads bytes in this encoding; a byte order mark is taken off.
    pub(super) fn new(bytes: R, encoding: &'static Encoding) -> Transcoder<R> {
        Transcoder {
            bytes,
            decoder: encoding.new_decoder_with_bom_removal(),
            packed: vec![0; STEP_BYTES],
            text: Vec::new(),
            n_taken: 0,
            is_over: false,
        }
    }
}

impl<R: Read> Read for Transcoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.n_taken == self.text.len() && !self.is_over {
            let n = self.bytes.read(&mut self.packed)?;
            self.is_over = n == 0;
            let packed = &self.packed[..n];
            let room = self.decoder.max_utf8_buffer_length(n);
            let room = room.ok_or_else(|| io::Error::other("too much text at a time"))?;
            self.text.resize(room, 0);
            let (_, _, n_text, _) =
                self.decoder
                    .decode_to_utf8(packed, &mut self.text, self.is_over);
            self.text.truncate(n_text);
            self.n_taken = 0;
        }
        let rest = &self.text[self.n_taken..];
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.n_taken += n;
        Ok(n)
    }
}
