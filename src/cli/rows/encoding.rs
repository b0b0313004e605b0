//! Encodings: bytes of a file to UTF-8.
//!
//! Invariant: the bytes handed on are UTF-8, or bytes of which each line is judged alone: UTF-8 where it
//! is valid, Windows-1252 otherwise.

use std::io::{self, Read};

use encoding_rs::{Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::recognised::{is_utf_16, zeros};

/// Bytes that are decoded at a time.
const STEP_BYTES: usize = 1 << 14;

/// The decoding of a file's bytes into text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Decoding {
    /// Each line alone: UTF-8 if it is valid, else Windows-1252.
    ByLine,
    /// UTF-8, and nothing else.
    Utf8,
    /// All of it.
    Whole(&'static Encoding),
}

/// An encoding that was named, and whether by model.toml, which a file may contradict.
#[derive(Clone, Copy, Debug)]
pub(super) struct EncodingOptions {
    pub encoding: &'static Encoding,
    pub is_described: bool,
}

/// The decoding of a file that begins with these bytes, in the encoding that was named, if any; and a
/// sentence where the bytes contradict that.
pub(super) fn decoding(head: &[u8], given: Option<EncodingOptions>) -> (Decoding, Option<String>) {
    let found = inferred(head);
    let Some(EncodingOptions {
        encoding,
        is_described,
    }) = given
    else {
        return (found.unwrap_or(Decoding::ByLine), None);
    };
    let in_file = match found {
        Some(Decoding::Whole(other)) => Some(other),
        _ if is_wide(encoding) && is_utf_8(head) => Some(UTF_8),
        _ if encoding != UTF_8 && is_utf_8_beyond_ascii(head) => Some(UTF_8),
        _ => None,
    };
    let given = match encoding {
        _ if encoding == UTF_8 && is_described => Decoding::ByLine,
        _ if encoding == UTF_8 => Decoding::Utf8,
        _ if encoding == WINDOWS_1252 && is_described => Decoding::ByLine,
        // The order of the bytes is that of the file.
        _ if is_wide(encoding) && found.is_none() && is_utf_8(head) => Decoding::ByLine,
        _ if is_wide(encoding) => found.unwrap_or(Decoding::Whole(encoding)),
        _ => Decoding::Whole(encoding),
    };
    let Some(in_file) = in_file.filter(|other| *other != encoding && !are_wide(other, encoding))
    else {
        return (given, None);
    };
    let (name, in_file) = (encoding.name(), in_file.name());
    if is_described {
        let sentence =
            format!("the file is {in_file}, and model.toml says {name}: read as it stands");
        (found.unwrap_or(Decoding::ByLine), Some(sentence))
    } else {
        let read = match given {
            Decoding::ByLine => ": read as it stands",
            _ => "",
        };
        let sentence = format!("the file looks like {in_file}, and --encoding says {name}{read}");
        (given, Some(sentence))
    }
}

/// The encoding that the bytes alone show; none of text that each line is judged by.
fn inferred(head: &[u8]) -> Option<Decoding> {
    let marked = Encoding::for_bom(head).map(|(encoding, _)| encoding);
    match marked {
        Some(encoding) if encoding != UTF_8 => Some(Decoding::Whole(encoding)),
        None if is_utf_16(head) => Some(Decoding::Whole(match zeros(head) {
            Some(0) => UTF_16BE,
            _ => UTF_16LE,
        })),
        _ => None,
    }
}

fn is_wide(encoding: &'static Encoding) -> bool {
    [UTF_16LE, UTF_16BE].contains(&encoding)
}

/// True of two encodings that the mark of a file, or its zeros, distinguishes.
fn are_wide(one: &'static Encoding, other: &'static Encoding) -> bool {
    is_wide(one) && is_wide(other)
}

/// True for UTF-8, of which the last character may be torn.
fn is_utf_8(head: &[u8]) -> bool {
    match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    }
}

/// True for UTF-8 that holds more than ASCII.
fn is_utf_8_beyond_ascii(head: &[u8]) -> bool {
    let valid = std::str::from_utf8(head).map_or_else(|error| error.valid_up_to(), str::len);
    is_utf_8(head) && !head[..valid].is_ascii()
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
