//! Numbers and qualities as other programs write them.

use sightglass_protocol::Quality;

use super::Cell;

/// Characters of a bad cell that a message shows.
const SHOWN_CHARS_MAX: usize = 40;

/// How decimals are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decimal {
    Point,
    Comma,
    /// Either, since the fields are not separated by commas.
    Either,
}

/// The number of a cell: `None` where there is none, NaN where the cell says that there is none.
pub(super) fn read(cell: &Cell, decimal: Decimal) -> Result<Option<f64>, String> {
    let text = match cell {
        Cell::Empty => return Ok(None),
        Cell::Number(number) => return Ok(Some(*number)),
        Cell::Time(_) => return Err("is a time, not a number".to_owned()),
        Cell::Text(text) => text.trim(),
    };
    if text.is_empty() {
        return Ok(None);
    }
    if ["nan", "null", "na", "n/a", "none", "bad"].iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Ok(Some(f64::NAN));
    }
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" => return Ok(Some(1.0)),
        "false" | "off" => return Ok(Some(0.0)),
        _ => {}
    }
    let has_comma = text.contains(',');
    let parsed = match decimal {
        Decimal::Point => text.parse(),
        Decimal::Comma | Decimal::Either if has_comma && !text.contains('.') => text.replacen(',', ".", 1).parse(),
        Decimal::Comma | Decimal::Either => text.parse(),
    };
    parsed.map(Some).map_err(|_| {
        let hint = if has_comma && decimal == Decimal::Point { " (a decimal comma? say --decimal-comma)" } else { "" };
        format!("is '{}', which is no number{hint}", shown(text))
    })
}

/// A quality: one of our words, or a number of OPC.
pub(super) fn quality(cell: &Cell) -> Result<Quality, String> {
    let of_number = |number: f64| match number as i64 & 0xc0 {
        0xc0 => Quality::Good,
        0x40 => Quality::Uncertain,
        _ => Quality::Bad,
    };
    match cell {
        Cell::Empty => Ok(Quality::Good),
        Cell::Number(number) => Ok(of_number(*number)),
        Cell::Time(_) => Err("the quality is a time".to_owned()),
        Cell::Text(text) => {
            let text = text.trim();
            let word = Quality::ALL.into_iter().find(|quality| text.eq_ignore_ascii_case(quality.word()));
            match (word, text.parse::<u8>()) {
                _ if text.is_empty() => Ok(Quality::Good),
                (Some(quality), _) => Ok(quality),
                (None, Ok(number)) => Ok(of_number(number.into())),
                (None, Err(_)) => Err(format!(
                    "the quality is '{}'; known are {}, and OPC's numbers 0 to 255",
                    shown(text),
                    Quality::ALL.map(Quality::word).join(", ")
                )),
            }
        }
    }
}

/// The beginning of a text, for a message.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str, decimal: Decimal) -> Result<Option<f64>, String> {
        read(&Cell::Text(text.to_owned()), decimal)
    }

    #[test]
    fn a_decimal_comma_is_a_number_only_where_it_cannot_be_a_separator() {
        assert_eq!(text(" -1,5 ", Decimal::Either), Ok(Some(-1.5)));
        assert_eq!(text("1,5e3", Decimal::Comma), Ok(Some(1500.0)));
        assert!(text("1,5", Decimal::Point).unwrap_err().contains("--decimal-comma"));
        assert!(text("1.234,5", Decimal::Either).is_err(), "thousands are not guessed at");
        assert!(text("1,2,3", Decimal::Either).is_err());
    }

    #[test]
    fn no_number_is_told_from_nothing() {
        assert_eq!(text("", Decimal::Point), Ok(None));
        assert!(text("NaN", Decimal::Point).unwrap().unwrap().is_nan());
        assert_eq!(text("-inf", Decimal::Point), Ok(Some(f64::NEG_INFINITY)));
        assert_eq!(text("TRUE", Decimal::Point), Ok(Some(1.0)));
        assert!(text("broken", Decimal::Point).unwrap_err().contains("'broken'"));
    }

    #[test]
    fn qualities_are_words_or_numbers_of_opc() {
        let quality = |text: &str| quality(&Cell::Text(text.to_owned()));
        assert_eq!(quality("Uncertain"), Ok(Quality::Uncertain));
        assert_eq!(quality("192"), Ok(Quality::Good));
        assert_eq!(quality("24"), Ok(Quality::Bad));
        assert!(quality("fine").unwrap_err().contains("good, uncertain"));
    }
}
