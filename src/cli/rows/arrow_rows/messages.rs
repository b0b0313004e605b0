//! The messages of an Arrow file or stream.
//!
//! Invariant: a message that passes, and the dictionaries that are kept, unpack to bounded bytes.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use anyhow::{Context, anyhow, ensure};
use arrow_buffer::Buffer;
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::{Message, MessageHeader, RecordBatch, root_as_footer, root_as_message};
use arrow_schema::Schema;

use super::super::bounds::OF_COLUMNS;

/// Bytes of a message's header.
const HEADER_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a message's body, packed or not, and of all dictionaries.
const BODY_BYTES_MAX: u64 = 256 << 20;
/// Stands before the length of a header.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Begins and ends a file.
const MAGIC: &[u8] = b"ARROW1";
/// Says of a packed body that one of its buffers is not packed.
const NOT_PACKED: i64 = -1;

/// The messages, one after the other.
pub(super) struct ArrowMessages<R> {
    bytes: R,
    /// The places of a file's messages, by its footer; those of a stream follow each other.
    places: Option<std::vec::IntoIter<u64>>,
    /// Bytes of the file, and those of them that are left.
    n_bytes: u64,
    n_left: u64,
    /// Bytes that messages unpack to by now.
    n_unpacked: u64,
    /// Bytes of the dictionaries that are kept, by their ids.
    dictionaries: BTreeMap<i64, u64>,
}

/// One message of the file.
pub(super) struct ArrowMessage {
    header: Vec<u8>,
    pub body: Buffer,
}

impl ArrowMessage {
    /// Its header.
    pub(super) fn header(&self) -> anyhow::Result<Message<'_>> {
        header(&self.header)
    }
}

impl<R: Read + Seek> ArrowMessages<R> {
    /// The schema and the messages of a file or a stream of so many bytes.
    pub(super) fn open(bytes: R, n_bytes: u64) -> anyhow::Result<(Schema, ArrowMessages<R>)> {
        let mut messages = ArrowMessages {
            bytes,
            places: None,
            n_bytes,
            n_left: n_bytes,
            n_unpacked: 0,
            dictionaries: BTreeMap::new(),
        };
        let is_file = messages.four()? == MAGIC[..4];
        let schema = if is_file {
            messages.footer()?
        } else {
            messages.go_to(0)?;
            messages.first()?
        };
        Ok((schema, messages))
    }

    /// Reads the footer of a file.
    fn footer(&mut self) -> anyhow::Result<Schema> {
        let end = (MAGIC.len() + 4) as u64;
        let place = self.n_bytes.checked_sub(end).context("a torn file")?;
        self.go_to(place)?;
        let length = u64::from(u32::from_le_bytes(self.four()?));
        let mark = self.take(MAGIC.len() as u64, end, "a mark")?;
        ensure!(mark == MAGIC, "a torn file");
        self.go_to(place.checked_sub(length).context("a torn file")?)?;
        let bytes = self.take(length, HEADER_BYTES_MAX, "a footer")?;
        let footer =
            root_as_footer(&bytes).map_err(|error| anyhow!("a damaged footer: {error}"))?;
        let blocks = [footer.dictionaries(), footer.recordBatches()];
        let blocks = blocks.into_iter().flatten().flatten();
        let places = blocks.map(|block| Ok(u64::try_from(block.offset())?));
        self.places = Some(places.collect::<anyhow::Result<Vec<u64>>>()?.into_iter());
        let schema = footer.schema().context("a footer without a schema")?;
        Ok(fb_to_schema(schema))
    }

    /// Reads the first message of a stream.
    fn first(&mut self) -> anyhow::Result<Schema> {
        let first = self.next()?.context("a stream of nothing")?;
        let schema = first.header()?.header_as_schema();
        let schema = schema.context("a stream that does not begin with its schema")?;
        Ok(fb_to_schema(schema))
    }

    fn go_to(&mut self, place: u64) -> anyhow::Result<()> {
        let left = self.n_bytes.checked_sub(place);
        self.n_left = left.context("a message begins behind the file")?;
        self.bytes.seek(SeekFrom::Start(place))?;
        Ok(())
    }

    /// The next message; none at the end of the stream.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<ArrowMessage>> {
        if let Some(places) = &mut self.places {
            let Some(place) = places.next() else {
                return Ok(None);
            };
            self.go_to(place)?;
        } else if self.n_left == 0 {
            return Ok(None);
        }
        let mut length = self.four()?;
        if length == CONTINUATION {
            length = self.four()?;
        }
        let length = u64::from(u32::from_le_bytes(length));
        if length == 0 {
            ensure!(self.places.is_none(), "a message of nothing");
            return Ok(None);
        }
        let what = "a message's header";
        let bytes = self.take(length, HEADER_BYTES_MAX, what)?;
        let message = header(&bytes)?;
        let n_body = u64::try_from(message.bodyLength())?;
        let body = self.take(n_body, BODY_BYTES_MAX, "a message's body")?;
        self.check(message, &body)?;
        Ok(Some(ArrowMessage {
            header: bytes,
            body: Buffer::from_vec(body),
        }))
    }

    fn four(&mut self) -> anyhow::Result<[u8; 4]> {
        let mut four = [0; 4];
        self.bytes.read_exact(&mut four).context("a torn file")?;
        self.n_left = self.n_left.saturating_sub(4);
        Ok(four)
    }

    fn take(&mut self, n: u64, at_most: u64, what: &str) -> anyhow::Result<Vec<u8>> {
        ensure!(
            n <= at_most,
            "{what} of {n} bytes; at most {at_most} are read"
        );
        ensure!(n <= self.n_left, "{what} ends behind the file");
        let mut bytes = vec![0; usize::try_from(n)?];
        self.bytes.read_exact(&mut bytes).context("a torn file")?;
        self.n_left -= n;
        Ok(bytes)
    }

    /// Checks the unpacked size of a message.
    fn check(&mut self, message: Message<'_>, body: &[u8]) -> anyhow::Result<()> {
        let dictionary = message.header_as_dictionary_batch();
        let batch = match message.header_type() {
            MessageHeader::RecordBatch => message.header_as_record_batch(),
            _ => dictionary.and_then(|dictionary| dictionary.data()),
        };
        let Some(batch) = batch else { return Ok(()) };
        let n = unpacked(batch, body)?;
        ensure!(
            n <= BODY_BYTES_MAX,
            "a batch of {n} bytes; at most {BODY_BYTES_MAX} are read"
        );
        self.n_unpacked = self.n_unpacked.saturating_add(n);
        OF_COLUMNS
            .check(self.n_unpacked, self.n_bytes)
            .map_err(|why| anyhow!(why))?;
        if let Some(dictionary) = dictionary {
            let kept = self.dictionaries.entry(dictionary.id()).or_default();
            *kept = n + if dictionary.isDelta() { *kept } else { 0 };
            let n_kept: u64 = self.dictionaries.values().sum();
            ensure!(
                n_kept <= BODY_BYTES_MAX,
                "dictionaries of {n_kept} bytes; at most {BODY_BYTES_MAX} are read"
            );
        }
        Ok(())
    }
}

fn header(bytes: &[u8]) -> anyhow::Result<Message<'_>> {
    root_as_message(bytes).map_err(|error| anyhow!("a damaged message: {error}"))
}

/// The bytes that the buffers of a batch take, unpacked.
fn unpacked(batch: RecordBatch<'_>, body: &[u8]) -> anyhow::Result<u64> {
    if batch.compression().is_none() {
        return Ok(body.len() as u64);
    }
    let mut n_all = 0u64;
    for buffer in batch.buffers().into_iter().flatten() {
        let (start, length) = (
            usize::try_from(buffer.offset())?,
            usize::try_from(buffer.length())?,
        );
        let bytes = start.checked_add(length).map(|end| body.get(start..end));
        let bytes = bytes.flatten().context("a buffer ends behind its batch")?;
        let Some((n, _)) = bytes.split_first_chunk::<8>() else {
            ensure!(bytes.is_empty(), "a packed buffer without its length");
            continue;
        };
        let n = i64::from_le_bytes(*n);
        n_all += match n {
            NOT_PACKED => bytes.len() as u64,
            n => u64::try_from(n).context("a packed buffer with a length below zero")?,
        };
        ensure!(
            n_all <= BODY_BYTES_MAX,
            "a batch that unpacks to more than {BODY_BYTES_MAX} bytes"
        );
    }
    Ok(n_all)
}
