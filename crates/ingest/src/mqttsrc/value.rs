//! From the bytes of a message to values: plain text and JSON.

use serde_json::Value;
use sightglass_plant::{JsonPath, JsonStep, JsonTime};
use sightglass_protocol::{Quality, UtcNanos};

/// Characters of a bad text that a message shows.
const SHOWN_CHARS_MAX: usize = 40;

/// The value of a plain payload: one number as text, or true, false, on, off (1 and 0).
///
/// # Errors
/// Why it is none. Never panics, whatever the bytes.
pub fn plain(payload: &[u8]) -> Result<f64, String> {
    let text = std::str::from_utf8(payload).map_err(|_| "it is not text in UTF-8".to_owned())?.trim();
    if let Some(flag) = flag(text) {
        return Ok(flag);
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(format!("'{}' is no finite number", shown(text))),
        Err(_) if text.is_empty() => Err("it is empty".to_owned()),
        Err(_) if text.replacen(',', ".", 1).parse::<f64>().is_ok() => {
            Err(format!("'{}' has a decimal comma; it must be a point", shown(text)))
        }
        Err(_) => Err(format!("'{}' is no number", shown(text))),
    }
}

fn flag(text: &str) -> Option<f64> {
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    if is("true") || is("on") {
        Some(1.0)
    } else if is("false") || is("off") {
        Some(0.0)
    } else {
        None
    }
}

/// The JSON of a payload.
///
/// # Errors
/// Why it is none. Never panics, whatever the bytes.
pub fn json(payload: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(payload).map_err(|error| format!("it is not JSON: {error}"))
}

/// What lies at a path.
pub fn look<'v>(value: &'v Value, path: &JsonPath) -> Option<&'v Value> {
    path.0.iter().try_fold(value, |value, step| match step {
        JsonStep::Member(name) => value.get(name.as_str()),
        JsonStep::Item(at) => value.get(at),
    })
}

/// The number of a JSON value, text with a number included; `None` for null.
///
/// # Errors
/// Why it is none.
pub fn number(value: &Value) -> Result<Option<f64>, String> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(flag) => Ok(Some(f64::from(u8::from(*flag)))),
        Value::Number(number) => match number.as_f64().filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(format!("{number} is no finite number")),
        },
        Value::String(text) => plain(text.as_bytes()).map(Some),
        Value::Array(_) => Err("it is a list; give its path a position".to_owned()),
        Value::Object(_) => Err("it is an object; give its path a name".to_owned()),
    }
}

/// The time of a JSON value.
///
/// # Errors
/// Why it is none.
pub fn time(value: &Value, format: JsonTime) -> Result<UtcNanos, String> {
    let wrong = |why: &str| Err(format!("the time {} {why}", shown(&value.to_string())));
    let text;
    let number = match value {
        Value::Number(number) => number,
        Value::String(string) => {
            if let Ok(time) = string.parse() {
                return Ok(time);
            }
            match serde_json::from_str::<Value>(string.trim()) {
                Ok(Value::Number(number)) => {
                    text = number;
                    &text
                }
                _ => return wrong("is no time between 1677 and 2262 such as 2026-11-24T08:15:00Z"),
            }
        }
        _ => return wrong("is no time"),
    };
    let magnitude = number.as_f64().unwrap_or(f64::INFINITY).abs();
    // The present is 1.8e9 s; each unit covers from 1973 to the year 5138.
    let unit_ns: i64 = match format {
        JsonTime::Seconds => 1_000_000_000,
        JsonTime::Milliseconds => 1_000_000,
        JsonTime::Microseconds => 1_000,
        JsonTime::Nanoseconds => 1,
        JsonTime::Auto if magnitude < 1e11 => 1_000_000_000,
        JsonTime::Auto if magnitude < 1e14 => 1_000_000,
        JsonTime::Auto if magnitude < 1e17 => 1_000,
        JsonTime::Auto => 1,
    };
    let nanos = match number.as_i64() {
        Some(whole) => whole.checked_mul(unit_ns),
        None => {
            // The whole and the rest apart, since their product has more digits than a float.
            let units = number.as_f64().unwrap_or(f64::INFINITY);
            let rest = ((units - units.trunc()) * unit_ns as f64).round();
            let whole = (units.abs() < i64::MAX as f64).then_some(units.trunc() as i64);
            whole.and_then(|whole| whole.checked_mul(unit_ns)).and_then(|whole| whole.checked_add(rest as i64))
        }
    };
    nanos.map_or_else(|| wrong("is out of range"), |nanos| Ok(UtcNanos(nanos)))
}

/// The quality of a JSON value: a word, a flag, or an OPC code (192 and above good, 64 and above uncertain, else bad).
/// What is none of these is uncertain.
pub fn quality(value: &Value) -> Quality {
    match value {
        Value::Bool(true) => Quality::Good,
        Value::Bool(false) => Quality::Bad,
        Value::Number(number) => match number.as_f64() {
            Some(code) if code >= 192.0 => Quality::Good,
            Some(code) if code < 64.0 => Quality::Bad,
            _ => Quality::Uncertain,
        },
        Value::String(word) => {
            let is = |quality: &Quality| quality.word().eq_ignore_ascii_case(word.trim());
            Quality::ALL.into_iter().find(is).unwrap_or(Quality::Uncertain)
        }
        _ => Quality::Uncertain,
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_text_is_a_number_or_a_flag() {
        for (text, value) in [("1.5", 1.5), (" -2e3\n", -2000.0), ("true", 1.0), ("OFF", 0.0), ("0", 0.0)] {
            assert_eq!(plain(text.as_bytes()), Ok(value), "{text}");
        }
        for (bytes, said) in [
            (&b""[..], "it is empty"),
            (b"1,5", "decimal comma"),
            (b"nan", "no finite"),
            (b"1e999", "no finite"),
            (b"12 bar", "'12 bar' is no number"),
            (b"\xff\xfe", "UTF-8"),
        ] {
            assert!(plain(bytes).is_err_and(|why| why.contains(said)), "{said}");
        }
        assert!(plain("ä".repeat(100).as_bytes()).is_err_and(|why| why.ends_with("ä…' is no number")));
    }

    #[test]
    fn a_path_leads_to_a_number() {
        let value = json!({ "a": [1, { "b c": "2.5" }], "on": true, "none": null, "deep": { "er": 7 } });
        let at = |path: &str| look(&value, &path.parse().unwrap()).map(number);
        assert_eq!(at("a[0]"), Some(Ok(Some(1.0))));
        assert_eq!(at("$.a[1]['b c']"), Some(Ok(Some(2.5))));
        assert_eq!(at("on"), Some(Ok(Some(1.0))));
        assert_eq!(at("none"), Some(Ok(None)));
        assert_eq!(at("a[2]"), None);
        assert_eq!(at("a.b"), None);
        assert_eq!(at("deep.er.est"), None);
        assert!(at("a").is_some_and(|number| number.is_err_and(|why| why.contains("list"))));
        assert!(at("deep").is_some_and(|number| number.is_err_and(|why| why.contains("object"))));
        assert!(json(b"{\"a\": NaN}").is_err());
        assert!(json(b"{\"a\": 1").is_err());
        assert!(json("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn a_time_is_read_in_any_usual_form() {
        let expected: UtcNanos = "2026-11-24T08:15:00.25Z".parse().unwrap();
        for value in [
            json!("2026-11-24T08:15:00.25Z"),
            json!("2026-11-24T09:15:00.25+01:00"),
            json!("2026-11-24 08:15:00.25"),
            json!(1_795_508_100.25),
            json!(1_795_508_100_250_i64),
            json!(1_795_508_100_250_000_i64),
            json!(1_795_508_100_250_000_000_i64),
            json!("1795508100250"),
        ] {
            assert_eq!(time(&value, JsonTime::Auto), Ok(expected), "{value}");
        }
        assert_eq!(time(&json!(1_795_508_100_250_i64), JsonTime::Milliseconds), Ok(expected));
        assert_eq!(time(&json!(1000), JsonTime::Milliseconds), Ok(UtcNanos(1_000_000_000)));
        for value in [
            json!("9999-12-31T23:59:59Z"),
            json!("1601-01-01T00:00:00Z"),
            json!(-11_644_473_600_i64),
            json!(u64::MAX),
            json!(1e300),
            json!("soon"),
            json!(null),
            json!([1]),
        ] {
            assert!(time(&value, JsonTime::Auto).is_err(), "{value}");
        }
    }

    #[test]
    fn a_quality_is_a_word_a_flag_or_a_code() {
        for (value, expected) in [
            (json!("Good"), Quality::Good),
            (json!("uncertain"), Quality::Uncertain),
            (json!("BAD"), Quality::Bad),
            (json!("stale"), Quality::Stale),
            (json!("fine"), Quality::Uncertain),
            (json!(true), Quality::Good),
            (json!(false), Quality::Bad),
            (json!(192), Quality::Good),
            (json!(216), Quality::Good),
            (json!(64), Quality::Uncertain),
            (json!(0), Quality::Bad),
            (json!(null), Quality::Uncertain),
        ] {
            assert_eq!(quality(&value), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text: String, number_of: f64, whole: i64, path: String) {
            let path: JsonPath = path.parse().unwrap_or_default();
            for payload in [&bytes[..], text.as_bytes(), number_of.to_string().as_bytes(), whole.to_string().as_bytes()] {
                if let Ok(value) = plain(payload) {
                    prop_assert!(value.is_finite());
                }
                let Ok(value) = json(payload) else { continue };
                let value = look(&value, &path).unwrap_or(&value);
                let _any = (number(value), quality(value));
                for format in [JsonTime::Auto, JsonTime::Seconds, JsonTime::Nanoseconds] {
                    let _any = time(value, format);
                }
            }
        }
    }
}
