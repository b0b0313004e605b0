//! CSV as RFC 4180 has it, with any separator: the fields of one record.
//!
//! Invariant: a record has the number of its first line, however many lines its quoted fields span.
//! Lenient in three things: blanks around a field that is not quoted do not belong to it; a quote
//! inside a field that does not begin with one stands for itself; and between tabs, where texts are
//! seldom quoted, so does a quote whose field does not end on its line.

use anyhow::bail;

use super::lines::Lines;
use super::row::Unusable;

/// A separator of runs of blanks.
pub(super) const BLANKS: char = ' ';

/// The next record and the line it begins on; blank lines between records are passed over.
///
/// # Errors
/// [`Unusable`] for text behind a closing quote: the records after that line can still be read.
pub(super) fn next_record(
    lines: &mut Lines,
    separator: char,
) -> anyhow::Result<Option<(u64, Vec<String>)>> {
    let mut line = loop {
        match lines.next(0)? {
            None => return Ok(None),
            Some(line) if line.trim().is_empty() && separator != '\t' => continue,
            Some(line) if is_end(&line) => continue,
            Some(line) => break line,
        }
    };
    let first_line = lines.number();
    let mut n_bytes = line.len();
    let mut record = RecordParser::new(separator);
    loop {
        match record.take(&line) {
            LineOutcome::Whole => return Ok(Some((first_line, record.fields))),
            LineOutcome::Open => {}
            LineOutcome::Malformed => {
                let why = "text after a closing quote; double a quote that belongs to the field";
                return Err(anyhow::Error::new(Unusable {
                    reason: "text after a closing quote".to_owned(),
                    sentence: lines.refusal(lines.number(), why).to_string(),
                }));
            }
        }
        line = match lines.next(n_bytes)? {
            Some(line) => line,
            None => bail!(lines.refusal(first_line, "a quoted field is never closed")),
        };
        n_bytes += line.len();
    }
}

/// The records among the first lines of a file, each with the index of its first line; none where
/// the separator makes nonsense of a quote.
pub(super) fn sampled(lines: &[String], separator: char) -> Option<Vec<(usize, Vec<String>)>> {
    let mut records = Vec::new();
    let mut open: Option<(usize, RecordParser)> = None;
    for (index, line) in lines.iter().enumerate() {
        if open.is_none() && line.trim().is_empty() {
            continue;
        }
        let (first, mut record) = open
            .take()
            .unwrap_or_else(|| (index, RecordParser::new(separator)));
        match record.take(line) {
            LineOutcome::Whole => records.push((first, record.fields)),
            LineOutcome::Open => open = Some((first, record)),
            LineOutcome::Malformed => return None,
        }
    }
    Some(records)
}

enum LineOutcome {
    /// The record ends with this line.
    Whole,
    /// A quoted field goes on in the next line.
    Open,
    Malformed,
}

struct RecordParser {
    separator: char,
    fields: Vec<String>,
    /// The quoted field that is not closed yet.
    open: Option<String>,
}

impl RecordParser {
    fn new(separator: char) -> RecordParser {
        RecordParser {
            separator,
            fields: Vec::new(),
            open: None,
        }
    }

    fn take(&mut self, line: &str) -> LineOutcome {
        let mut rest = line;
        loop {
            if let Some(mut field) = self.open.take() {
                let Some((inside, after)) = rest.split_once('"') else {
                    field.push_str(rest);
                    self.open = Some(field);
                    return LineOutcome::Open;
                };
                field.push_str(inside);
                if let Some(after) = after.strip_prefix('"') {
                    field.push('"');
                    self.open = Some(field);
                    rest = after;
                    continue;
                }
                self.fields.push(field);
                match self.after_field(after) {
                    After::Next(after) => rest = after,
                    After::End => return LineOutcome::Whole,
                    After::Text => return LineOutcome::Malformed,
                }
                continue;
            }
            rest = self.without_blanks(rest);
            if self.separator == BLANKS && is_end(rest) {
                return LineOutcome::Whole;
            }
            if let Some(after) = rest.strip_prefix('"')
                && self.is_quoted(after)
            {
                self.open = Some(String::new());
                rest = after;
                continue;
            }
            let end = match self.separator {
                BLANKS => rest.find([' ', '\t']),
                separator => rest.find(separator),
            };
            let Some(end) = end else {
                self.fields.push(without_end(rest).trim_end().to_owned());
                return LineOutcome::Whole;
            };
            self.fields.push(rest[..end].trim_end().to_owned());
            // Blanks and tabs are as long as the separator that they stand for.
            rest = &rest[end + self.separator.len_utf8()..];
        }
    }

    /// A rest of a line from its next field on.
    fn without_blanks<'a>(&self, rest: &'a str) -> &'a str {
        match self.separator {
            '\t' => rest.trim_start_matches(' '),
            _ => rest.trim_start_matches([' ', '\t']),
        }
    }

    /// The text behind a closing quote.
    fn after_field<'a>(&self, after: &'a str) -> After<'a> {
        let trimmed = self.without_blanks(after);
        if is_end(trimmed) {
            After::End
        } else if self.separator == BLANKS {
            if trimmed.len() < after.len() {
                After::Next(trimmed)
            } else {
                After::Text
            }
        } else {
            match trimmed.strip_prefix(self.separator) {
                Some(after) => After::Next(after),
                None => After::Text,
            }
        }
    }

    /// True unless a quote between tabs stands for itself.
    fn is_quoted(&self, after: &str) -> bool {
        if self.separator != '\t' {
            return true;
        }
        let mut rest = after;
        while let Some((_, after)) = rest.split_once('"') {
            match after.strip_prefix('"') {
                Some(after) => rest = after,
                None => return !matches!(self.after_field(after), After::Text),
            }
        }
        false
    }
}

/// The text behind a closing quote.
enum After<'a> {
    /// The next field.
    Next(&'a str),
    /// The end of the line.
    End,
    /// Text, where there should be none.
    Text,
}

fn is_end(rest: &str) -> bool {
    without_end(rest).is_empty()
}

fn without_end(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use crate::cli::rows::tests::{gzipped, read};

    #[test]
    fn rows_come_as_they_stand() {
        let check = |text: &str, expected: &str| {
            assert_eq!(read(text.as_bytes()).unwrap(), expected, "{text:?}");
            let packed = gzipped(text.as_bytes());
            assert_eq!(read(&packed).unwrap(), expected, "gzipped {text:?}");
        };
        check("a,b\n1,2\n3,4\n", "a|b 2: 1|2 3: 3|4");
        check("a,b\r\n1,2\r\n3,4", "a|b 2: 1|2 3: 3|4");
        check("\u{feff}a,b\n1,2\n", "a|b 2: 1|2");
        check("a,b\n\n\r\n1,2\n", "a|b 4: 1|2");
        check("a,b\n,\n1,\n", "a|b 3: 1|");
        check("a,b\n\"1,2\",\"x\ny\"\n3,4\n", "a|b 2: 1,2|x\ny 4: 3|4");
        check("a,b\n\"\n\n\",2\n3,4\n", "a|b 2: \n\n|2 5: 3|4");
        check("a\n\"say \"\"hi\"\"\"\n", "a 2: say \"hi\"");
        check("\"a,b\",c\n5\" pipe,\"\"\n", "a,b|c 2: 5\" pipe|");
        check("é, b\n1,ü\n", "é|b 2: 1|ü");
        check("a,b\n", "a|b");
    }
}
