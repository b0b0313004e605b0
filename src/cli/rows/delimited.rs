//! CSV as RFC 4180 has it: the fields of one record.
//!
//! Invariant: a record has the number of its first line, however many lines its quoted fields span.
//! Lenient in one thing: a quote inside a field that does not begin with one stands for itself.

use anyhow::bail;

use super::lines::Lines;

/// The next record and the line it begins on; blank lines between records are passed over.
pub(super) fn next_record(lines: &mut Lines) -> anyhow::Result<Option<(u64, Vec<String>)>> {
    let mut line = loop {
        match lines.next(0)? {
            None => return Ok(None),
            Some(line) if is_end(&line) => continue,
            Some(line) => break line,
        }
    };
    let first_line = lines.number();
    let mut n_bytes = line.len();
    let mut record = Record::default();
    loop {
        match record.take(&line) {
            Taken::Whole => return Ok(Some((first_line, record.fields))),
            Taken::Open => {}
            Taken::Malformed => bail!(lines.refusal(
                lines.number(),
                "text after a closing quote; double a quote that belongs to the field"
            )),
        }
        line = match lines.next(n_bytes)? {
            Some(line) => line,
            None => bail!(lines.refusal(first_line, "a quoted field is never closed")),
        };
        n_bytes += line.len();
    }
}

enum Taken {
    /// The record ends with this line.
    Whole,
    /// A quoted field goes on in the next line.
    Open,
    Malformed,
}

#[derive(Default)]
struct Record {
    fields: Vec<String>,
    /// The quoted field that is not closed yet.
    open: Option<String>,
}

impl Record {
    fn take(&mut self, line: &str) -> Taken {
        let mut rest = line;
        loop {
            if let Some(mut field) = self.open.take() {
                let Some((inside, after)) = rest.split_once('"') else {
                    field.push_str(rest);
                    self.open = Some(field);
                    return Taken::Open;
                };
                field.push_str(inside);
                if let Some(after) = after.strip_prefix('"') {
                    field.push('"');
                    self.open = Some(field);
                    rest = after;
                    continue;
                }
                self.fields.push(field);
                match after.strip_prefix(',') {
                    Some(after) => rest = after,
                    None if is_end(after) => return Taken::Whole,
                    None => return Taken::Malformed,
                }
            } else if let Some(after) = rest.strip_prefix('"') {
                self.open = Some(String::new());
                rest = after;
            } else if let Some((field, after)) = rest.split_once(',') {
                self.fields.push(field.to_owned());
                rest = after;
            } else {
                self.fields.push(without_end(rest).to_owned());
                return Taken::Whole;
            }
        }
    }
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
        check("a,b\n,\n", "a|b 2: |");
        check("a,b\n\"1,2\",\"x\ny\"\n3,4\n", "a|b 2: 1,2|x\ny 4: 3|4");
        check("a,b\n\"\n\n\",2\n3,4\n", "a|b 2: \n\n|2 5: 3|4");
        check("a\n\"say \"\"hi\"\"\"\n", "a 2: say \"hi\"");
        check("\"a,b\",c\n5\" pipe,\"\"\n", "a,b|c 2: 5\" pipe|");
        check("é, b\n1,ü\n", "é| b 2: 1|ü");
        check("a,b\n", "a|b");
    }
}
