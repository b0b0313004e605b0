//! The marked blocks of a document, in order.
//!
//! Invariant: every mark is known and stands before a block, so that none is passed over unseen.

/// One step, with the line of its mark or block.
#[derive(Debug, PartialEq)]
pub(super) struct Step {
    pub line: usize,
    pub action: Action,
}

#[derive(Debug, PartialEq)]
pub(super) enum Action {
    Shell(String),
    PythonShell(String),
    Python(String),
    Background(String),
    File(String, String),
    Stop,
}

/// Reads the marked blocks of a document.
///
/// # Panics
/// A mark is unknown, or no block follows it.
pub(super) fn steps(document: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut mark: Option<(usize, &str)> = None;
    let mut lines = document.lines().zip(1..);
    while let Some((text, line)) = lines.next() {
        let comment = text.trim().strip_prefix("<!--");
        let comment = comment.and_then(|comment| comment.strip_suffix("-->"));
        if let Some((at, waiting)) = mark
            && !text.starts_with("```")
            && !text.trim().is_empty()
        {
            panic!("line {at}: `<!-- {waiting} -->` is not followed by a block");
        }
        match (comment.map(str::trim), text.strip_prefix("```")) {
            (Some("stop"), _) => steps.push(Step {
                line,
                action: Action::Stop,
            }),
            (Some(comment), _) if is_mark(comment) => mark = Some((line, comment)),
            (_, Some(language)) => {
                let body = lines.by_ref().take_while(|(text, _)| *text != "```");
                let body: String = body.map(|(text, _)| format!("{text}\n")).collect();
                if let Some((at, mark)) = mark.take() {
                    let action = action(at, mark, language, body);
                    steps.push(Step {
                        line: line + 1,
                        action,
                    });
                }
            }
            _ => {}
        }
    }
    if let Some((at, mark)) = mark {
        panic!("line {at}: `<!-- {mark} -->` is not followed by a block");
    }
    steps
}

fn is_mark(comment: &str) -> bool {
    ["run", "file"]
        .iter()
        .any(|word| comment == *word || comment.starts_with(&format!("{word}:")))
}

fn action(line: usize, mark: &str, language: &str, body: String) -> Action {
    let (word, argument) = mark.split_once(':').unwrap_or((mark, ""));
    match (word, argument.trim(), language) {
        ("run", "", "sh") => Action::Shell(body),
        ("run", "", "python") => Action::Python(body),
        ("run", "python", "sh") => Action::PythonShell(body),
        ("run", "background", "sh") => Action::Background(body),
        ("file", name, _) if !name.is_empty() => Action::File(name.to_owned(), body),
        _ => panic!("line {line}: `<!-- {mark} -->` does not mark a block of {language:?}"),
    }
}
