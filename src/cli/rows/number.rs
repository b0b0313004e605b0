//! Numbers as files write them: plain, with thousands separators, as money or percent, with a decimal
//! point or a decimal comma; and the tokens that stand for no value.
//!
//! Invariant: a text is a number under a decimal mark only if every character of it is accounted for.

/// The mark before the fraction of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Decimals {
    /// 1.5
    #[default]
    Point,
    /// 1,5
    Comma,
}

impl Decimals {
    /// The other mark.
    pub(crate) fn other(self) -> Decimals {
        match self {
            Decimals::Point => Decimals::Comma,
            Decimals::Comma => Decimals::Point,
        }
    }

    /// The word for it in model.toml.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Decimals::Point => "point",
            Decimals::Comma => "comma",
        }
    }
}

/// The symbols and codes of currencies, before or after an amount.
const CURRENCIES: [&str; 24] = [
    "R$", "$", "€", "£", "¥", "₹", "₽", "₩", "₺", "₴", "₫", "฿", "USD", "EUR", "GBP", "CHF", "JPY",
    "CNY", "INR", "AUD", "CAD", "SEK", "kr", "zł",
];
/// Tokens for no value in a column of numbers or dates, in lower case.
const GAPS: [&str; 18] = [
    "", "?", "-", "--", ".", "\\n", "na", "n/a", "#n/a", "nan", "null", "none", "<na>", "nat",
    "(null)", "#value!", "#div/0!", "#ref!",
];
/// The longest text that may be a number.
const NUMBER_BYTES_MAX: usize = 64;

/// A text without the blanks around it, of which most have none.
pub(crate) fn trimmed(text: &str) -> &str {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    if ends.iter().all(|end| end.is_some_and(u8::is_ascii_graphic)) {
        text
    } else {
        text.trim()
    }
}

/// True if a cell of a target or a category holds no value: nothing, `NA`, `nan`, `\N` or `#N/A`.
pub(crate) fn is_missing(text: &str) -> bool {
    let text = trimmed(text);
    matches!(text, "" | "NA" | "\\N" | "#N/A" | "<NA>") || text.eq_ignore_ascii_case("nan")
}

/// True for an infinite number, which stands for none that can be learned.
pub(crate) fn is_infinite(text: &str) -> bool {
    let text = trimmed(text);
    // The letters, and the last byte of the sign.
    let is_one = |byte: &u8| byte.is_ascii_alphabetic() || *byte == 0x9e;
    if text.len() > 12 || !text.as_bytes().last().is_some_and(is_one) {
        return false;
    }
    let text = text.trim_start_matches(['-', '+', '\u{2212}']);
    text.len() <= 8
        && ["inf", "infinity", "1.#inf", "\u{221e}"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word))
}

/// True if a cell of a column of numbers or dates is one of the usual tokens for no value.
pub(crate) fn is_gap(text: &str) -> bool {
    let text = trimmed(text);
    // No token begins with a digit, as most cells do.
    let is_digit = text.as_bytes().first().is_some_and(u8::is_ascii_digit);
    !is_digit && text.len() <= 7 && GAPS.iter().any(|gap| text.eq_ignore_ascii_case(gap))
}

/// The finite number that a text is under a decimal mark; none for any other text, a gap included.
pub(crate) fn finite(text: &str, decimals: Decimals) -> Option<f64> {
    let text = trimmed(text);
    if text.len() > NUMBER_BYTES_MAX || text.is_empty() {
        return None;
    }
    // Under a decimal comma a point may be a thousands separator.
    if decimals == Decimals::Point || !text.contains('.') {
        let is_word = text.ends_with(|c: char| c.is_ascii_alphabetic());
        if let (Ok(value), false) = (text.parse::<f64>(), is_word) {
            return value.is_finite().then_some(value);
        }
    }
    may_be_number(text).then(|| written(text, decimals))?
}

/// The finite number of a text, or else the number by the other mark, the only reading left.
pub(crate) fn finite_by_either(text: &str, decimals: Decimals) -> Option<f64> {
    finite(text, decimals).or_else(|| finite(text, decimals.other()))
}

/// False for a text without a digit, or with more letters than a currency and an exponent have.
fn may_be_number(text: &str) -> bool {
    let mut has_digit = false;
    let mut n_letters = 0;
    for byte in text.bytes() {
        has_digit |= byte.is_ascii_digit();
        n_letters += u32::from(byte.is_ascii_alphabetic());
    }
    has_digit && n_letters <= 4
}

/// True for a whole number, which `value` was read from, of more digits than a 64-bit float keeps.
pub(crate) fn loses_digits(text: &str, value: f64) -> bool {
    // From 2^53 on.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.abs() < EXACT {
        return false;
    }
    let text = text.trim();
    match text.parse::<i128>() {
        Ok(whole) => value as i128 != whole,
        Err(_) => text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// The finite number that a text is, NaN for one of the usual gaps, nothing for any other text.
pub(crate) fn number(text: &str, decimals: Decimals) -> Option<f64> {
    if is_gap(text) {
        return Some(f64::NAN);
    }
    finite(text, decimals)
}

/// True if a text is one number by a decimal point and another by a comma, as 1.234 is.
pub(crate) fn is_ambiguous(text: &str) -> bool {
    let text = text.trim().trim_start_matches('-');
    let parts = text.split_once(['.', ',']);
    let could_be = |(whole, rest): (&str, &str)| {
        let are_digits = rest.bytes().all(|byte| byte.is_ascii_digit());
        (1..=3).contains(&whole.len()) && (rest.len() == 3 || rest.len() > 3 && !are_digits)
    };
    if !parts.is_some_and(could_be) {
        return false;
    }
    let point = finite(text, Decimals::Point);
    let comma = finite(text, Decimals::Comma);
    point.is_some() && comma.is_some() && point != comma
}

/// The probability in (0, 1] that a text is, which may be a percentage; none for any other text.
pub(crate) fn probability(text: &str, decimals: Decimals) -> Option<f64> {
    let value = finite(text, decimals)?;
    let value = if is_percent(text) {
        value / 100.0
    } else {
        value
    };
    (value > 0.0 && value <= 1.0).then_some(value)
}

/// True if a text is a percentage.
pub(crate) fn is_percent(text: &str) -> bool {
    trimmed(text).ends_with('%')
}

/// A number with a sign, a currency or a percent sign around its digits.
fn written(text: &str, decimals: Decimals) -> Option<f64> {
    let (mut rest, mut is_negative, mut n_signs) = (text, false, 0);
    if let Some(inside) = rest
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
    {
        (rest, is_negative, n_signs) = (inside.trim(), true, 1);
    }
    rest = rest.strip_suffix('%').map_or(rest, str::trim_end);
    loop {
        let before = rest;
        for minus in ['-', '\u{2212}', '\u{2013}', '+'] {
            if let Some(after) = rest.strip_prefix(minus) {
                is_negative = minus != '+';
                n_signs += 1;
                rest = after.trim_start();
            }
        }
        let ends_in_digit = |c: Option<u8>| c.is_some_and(|byte| byte.is_ascii_digit());
        let (first, last) = (rest.bytes().next(), rest.bytes().last());
        if ends_in_digit(first) && ends_in_digit(last) {
            break;
        }
        for currency in CURRENCIES {
            if let Some(after) = rest.strip_prefix(currency) {
                rest = after.trim_start();
            } else if let Some(after) = rest.strip_suffix(currency) {
                rest = after.trim_end();
            }
        }
        if rest == before {
            break;
        }
    }
    let (rest, power) = without_multiple(rest);
    let value = digits(rest, decimals, power).filter(|_| n_signs <= 1)?;
    let value = if is_negative { -value } else { value };
    value.is_finite().then_some(value)
}

/// The letters of multiples, as in 1.5K and 20M, each with its power of ten.
const MULTIPLES: [(char, &str); 4] = [('K', "e3"), ('k', "e3"), ('M', "e6"), ('B', "e9")];

/// A number before its letter of a multiple, and the exponent that the letter stands for.
fn without_multiple(text: &str) -> (&str, &'static str) {
    let mut multiples = MULTIPLES.iter();
    let found = multiples.find_map(|(letter, power)| {
        let before = text.strip_suffix(*letter)?.trim_end();
        let is_number = before.ends_with(|c: char| c.is_ascii_digit());
        is_number.then_some((before, *power))
    });
    found.unwrap_or((text, ""))
}

/// A number without a sign: digits, perhaps in groups, perhaps with a fraction and an exponent, which
/// `power` is as well.
fn digits(text: &str, decimals: Decimals, power: &str) -> Option<f64> {
    let (mark, other) = match decimals {
        Decimals::Point => ('.', ','),
        Decimals::Comma => (',', '.'),
    };
    let (text, exponent) = match text.split_once(['e', 'E']) {
        Some((text, exponent)) => (text, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = text.split_once(mark).unwrap_or((text, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(fraction) || whole.len() + fraction.len() == 0 {
        return None;
    }
    let grouped = !are_digits(whole);
    if grouped && (exponent.is_some() || !is_grouped(whole, other)) {
        return None;
    }
    if exponent.is_some() && !power.is_empty() {
        return None;
    }
    let mut plain: String = whole.chars().filter(char::is_ascii_digit).collect();
    plain.push('.');
    plain.push_str(fraction);
    if let Some(exponent) = exponent {
        let unsigned = exponent.trim_start_matches(['+', '-', '\u{2212}']);
        if unsigned.is_empty() || !are_digits(unsigned) {
            return None;
        }
        plain.push('e');
        plain.push_str(&exponent.replace('\u{2212}', "-"));
    }
    if plain == "." {
        return None;
    }
    plain.push_str(power);
    plain.parse().ok()
}

/// True for digits in groups of three, or as in India of two before the last three, with one
/// separator throughout.
fn is_grouped(text: &str, separator: char) -> bool {
    let separators = [separator, ' ', '\u{a0}', '\u{202f}', '\u{2009}', '\''];
    let Some(separator) = separators.iter().find(|one| text.contains(**one)) else {
        return false;
    };
    let groups: Vec<&str> = text.split(*separator).collect();
    let are_digits = groups
        .iter()
        .all(|group| group.bytes().all(|byte| byte.is_ascii_digit()));
    let (first, rest) = (groups[0], &groups[1..]);
    let (Some(last), true) = (rest.last(), are_digits) else {
        return false;
    };
    let inner = &rest[..rest.len() - 1];
    // No number begins with a group of zero.
    let is_first = |max: usize| (1..=max).contains(&first.len()) && first != "0";
    let threes = is_first(3) && inner.iter().all(|group| group.len() == 3);
    let twos = is_first(2) && !inner.is_empty() && inner.iter().all(|group| group.len() == 2);
    last.len() == 3 && (threes || twos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_what_its_file_means() {
        let check = |text: &str, point: Option<f64>, comma: Option<f64>| {
            assert_eq!(finite(text, Decimals::Point), point, "{text} by point");
            assert_eq!(finite(text, Decimals::Comma), comma, "{text} by comma");
        };
        let both = |text: &str, value: f64| check(text, Some(value), Some(value));
        let none = |text: &str| check(text, None, None);
        both("12", 12.0);
        both(" -7 ", -7.0);
        both("1e3", 1000.0);
        both("\u{2212}5", -5.0);
        both("\u{2013}5", -5.0);
        both("$12", 12.0);
        both("12 €", 12.0);
        both("-$5", -5.0);
        both("$-5", -5.0);
        both("(12)", -12.0);
        both("12%", 12.0);
        both("12 %", 12.0);
        both("1 234 567", 1_234_567.0);
        both("1\u{a0}234", 1234.0);
        both("1'234", 1234.0);
        check("1.5", Some(1.5), None);
        check("1,5", None, Some(1.5));
        check("0.123", Some(0.123), None);
        check("0,123", None, Some(0.123));
        check("1.234", Some(1.234), Some(1234.0));
        check("1,234", Some(1234.0), Some(1.234));
        check("$1,234.50", Some(1234.5), None);
        check("1.234,50 EUR", None, Some(1234.5));
        check("1,234,567", Some(1_234_567.0), None);
        check("1,00,000", Some(100_000.0), None);
        check("1.5e-3", Some(0.0015), None);
        check("1,5e-3", None, Some(0.0015));
        check("153.76K", Some(153_760.0), None);
        check("$1.2M", Some(1_200_000.0), None);
        check("1,5 M", None, Some(1_500_000.0));
        both("-3B", -3e9);
        both("19k", 19_000.0);
        for text in [
            "", "-", "$", "%", "1x", "x1", "1,23,4", "12,34", "inf", "nan", "infinity", "1-2",
            "--5", "2008-01", "1:30", ".", ",", "e5", "1e", "1_000", "12,", "1..2", "(5", "0x1f",
            "1 2", "1e3K", "K", "1KM", "12m", "M5",
        ] {
            if text != "12,34" && text != "12," {
                none(text);
            }
        }
        check("12,34", None, Some(12.34));
        assert_eq!(finite(&"1".repeat(65), Decimals::Point), None);
    }

    #[test]
    fn whole_numbers_beyond_a_float_lose_digits() {
        let check = |text: &str, expected: bool| {
            let value = finite(text, Decimals::Point).expect(text);
            assert_eq!(loses_digits(text, value), expected, "{text}");
        };
        check("9007199254740992", false);
        check("9007199254740993", true);
        check("-9007199254740993", true);
        check("1234567890123456789", true);
        check("1000000000000000000", false);
        check("18446744073709551616", false);
        check(&"1234567890".repeat(5), true);
        check("1.2e300", false);
    }

    #[test]
    fn the_usual_tokens_are_gaps() {
        for gap in [
            "", " ", "?", "NULL", "None", "N/A", "#N/A", "-", ".", "\\N", "nan", "NaN", "NA",
            "<NA>",
        ] {
            assert!(is_gap(gap), "{gap}");
        }
        for value in ["0", "none of these", "-1", "no", "nano"] {
            assert!(!is_gap(value), "{value}");
        }
        assert!(is_missing("NA") && is_missing(" ") && !is_missing("None") && !is_missing("?"));
    }
}
