//! Times as other programs write them.

use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::TimeZone;
use sightglass_protocol::UtcNanos;

use super::Cell;
use super::number::shown;

/// Numbers of seconds since 1970 lie below this; larger ones are of a smaller unit. The year 2286.
const SECONDS_MAX: f64 = 1e10;

/// How times are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimeForm {
    /// RFC 3339, a civil time, or a number since 1970 whose unit its size tells.
    Auto,
    /// A number since 1970, in units of so many nanoseconds.
    Unix(i64),
    /// A pattern of strptime (`%d.%m.%Y %H:%M:%S%.f`).
    Pattern(String),
}

impl FromStr for TimeForm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "auto" => Self::Auto,
            "unix-s" => Self::Unix(1_000_000_000),
            "unix-ms" => Self::Unix(1_000_000),
            "unix-us" => Self::Unix(1_000),
            "unix-ns" => Self::Unix(1),
            pattern if pattern.contains('%') => Self::Pattern(pattern.to_owned()),
            _ => {
                return Err(format!(
                    "'{text}' is none of auto, unix-s, unix-ms, unix-us, unix-ns, nor a pattern such as \
                     \"%d.%m.%Y %H:%M:%S\""
                ));
            }
        })
    }
}

/// Where times without an offset were taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl FromStr for Zone {
    type Err = String;

    /// `UTC`, a name of the time zone database (`Europe/Berlin`), or an offset (`+01:00`).
    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("utc") || text == "Z" {
            return Ok(Self::default());
        }
        DateTimeParser::new().parse_time_zone(text).map(Self).map_err(|_| {
            format!("'{text}' is neither UTC, nor a zone such as Europe/Berlin, nor an offset such as +01:00")
        })
    }
}

/// Reads times.
pub(super) struct Moments {
    form: TimeForm,
    zone: TimeZone,
    ambiguous: u64,
}

impl Moments {
    pub(super) fn new(form: TimeForm, zone: Zone) -> Self {
        Self { form, zone: zone.0, ambiguous: 0 }
    }

    /// Times so far that local clocks showed twice.
    pub(super) fn ambiguous(&self) -> u64 {
        self.ambiguous
    }

    pub(super) fn read(&mut self, cell: &Cell) -> Result<UtcNanos, String> {
        match (cell, &self.form) {
            (Cell::Empty, _) => Err("it has no time".to_owned()),
            (Cell::Time(nanos), _) => held(*nanos),
            (Cell::Number(number), TimeForm::Unix(unit)) => of_float(*number, *unit),
            (Cell::Number(number), TimeForm::Auto) => of_float(*number, guessed_unit(*number)),
            (Cell::Number(_), TimeForm::Pattern(_)) => Err("its time is a number, which has no pattern".to_owned()),
            (Cell::Text(text), _) => {
                let text = text.trim().to_owned();
                self.read_text(&text)
            }
        }
    }

    fn read_text(&mut self, text: &str) -> Result<UtcNanos, String> {
        if text.is_empty() {
            return Err("it has no time".to_owned());
        }
        match &self.form {
            TimeForm::Unix(unit) => of_number_text(text, Some(*unit)),
            TimeForm::Pattern(pattern) => {
                let no = |error: jiff::Error| format!("the time '{}' does not fit '{pattern}': {error}", shown(text));
                let broken = strtime::parse(pattern, text).map_err(no)?;
                if broken.offset().is_some() {
                    return broken.to_timestamp().map_err(no).and_then(|time| held(time.as_nanosecond()));
                }
                let civil = match broken.to_datetime() {
                    Ok(civil) => civil,
                    // A date alone is its midnight.
                    Err(error) => broken.to_date().map_err(|_| no(error))?.at(0, 0, 0, 0),
                };
                self.local(civil)
            }
            TimeForm::Auto if text.parse::<f64>().is_ok() => of_number_text(text, None),
            TimeForm::Auto => {
                if let Ok(time) = text.parse::<jiff::Timestamp>() {
                    return held(time.as_nanosecond());
                }
                match text.parse::<DateTime>() {
                    Ok(civil) => self.local(civil),
                    Err(_) => Err(format!(
                        "'{}' is no time such as 2026-11-24 08:15:00; give its pattern with --time-format",
                        shown(text)
                    )),
                }
            }
        }
    }

    /// A time on the zone's clocks. One that they showed twice is taken as the first, one that they left out as if they
    /// had not.
    fn local(&mut self, civil: DateTime) -> Result<UtcNanos, String> {
        let ambiguous = self.zone.to_ambiguous_timestamp(civil);
        self.ambiguous += u64::from(ambiguous.is_ambiguous());
        let time = ambiguous.compatible().map_err(|error| format!("the time {civil} is not possible: {error}"))?;
        held(time.as_nanosecond())
    }
}

/// The unit that the size of a number since 1970 tells, in nanoseconds.
fn guessed_unit(number: f64) -> i64 {
    let size = number.abs();
    [1_000_000_000, 1_000_000, 1_000].into_iter().find(|unit| size < SECONDS_MAX * (1e9 / *unit as f64)).unwrap_or(1)
}

/// Exact where the text is a whole number.
fn of_number_text(text: &str, unit: Option<i64>) -> Result<UtcNanos, String> {
    if let Ok(whole) = text.parse::<i128>() {
        let unit = unit.unwrap_or_else(|| guessed_unit(whole as f64));
        return whole.checked_mul(unit.into()).ok_or_else(|| beyond(text)).and_then(held);
    }
    let number: f64 = text.parse().map_err(|_| format!("the time '{}' is no number", shown(text)))?;
    of_float(number, unit.unwrap_or_else(|| guessed_unit(number)))
}

fn of_float(number: f64, unit: i64) -> Result<UtcNanos, String> {
    if !number.is_finite() {
        return Err(format!("the time is {number}"));
    }
    // Whole units apart from their part, so that doubles keep what they have.
    let whole = number.floor();
    let part = ((number - whole) * unit as f64).round();
    if whole.abs() > 1e19 {
        return Err(beyond(&number.to_string()));
    }
    held(whole as i128 * i128::from(unit) + part as i128)
}

fn held(nanos: i128) -> Result<UtcNanos, String> {
    let shown = || match jiff::Timestamp::from_nanosecond(nanos) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{nanos} ns"),
    };
    i64::try_from(nanos).map(UtcNanos).map_err(|_| beyond(&shown()))
}

fn beyond(time: &str) -> String {
    format!("the time {time} is beyond what the history can hold, 1677-09-21 to 2262-04-11")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(form: &str, zone: &str, text: &str) -> Result<String, String> {
        let mut moments = Moments::new(form.parse().unwrap(), zone.parse().unwrap());
        moments.read(&Cell::Text(text.to_owned())).map(|time| time.to_string())
    }

    #[test]
    fn times_are_read_as_other_programs_write_them() {
        for (form, zone, text, time) in [
            ("auto", "UTC", "2026-11-24T08:15:00.5+01:00", "2026-11-24T07:15:00.5Z"),
            ("auto", "UTC", "2026-11-24 08:15:00", "2026-11-24T08:15:00Z"),
            ("auto", "+02:00", "2026-11-24 08:15:00", "2026-11-24T06:15:00Z"),
            ("auto", "UTC", "1795507200", "2026-11-24T08:00:00Z"),
            ("auto", "UTC", "1795507200.25", "2026-11-24T08:00:00.25Z"),
            ("auto", "UTC", "1795507200123", "2026-11-24T08:00:00.123Z"),
            ("auto", "UTC", "1795507200000000001", "2026-11-24T08:00:00.000000001Z"),
            ("unix-ms", "UTC", "-1", "1969-12-31T23:59:59.999Z"),
            ("%d.%m.%Y %H:%M:%S%.f", "UTC", "24.11.2026 08:15:00.125", "2026-11-24T08:15:00.125Z"),
            ("%Y%m%d", "UTC", "20261124", "2026-11-24T00:00:00Z"),
        ] {
            assert_eq!(read(form, zone, text).as_deref(), Ok(time), "{form} {zone} {text}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_held_or_read_says_so() {
        assert!(read("auto", "UTC", "1601-01-01T00:00:00Z").unwrap_err().contains("1677-09-21"));
        assert!(read("auto", "UTC", "2262-04-12T00:00:00Z").unwrap_err().contains("2262-04-11"));
        assert_eq!(read("auto", "UTC", "2262-04-11T23:47:16Z").as_deref(), Ok("2262-04-11T23:47:16Z"));
        assert!(read("auto", "UTC", "24.11.2026").unwrap_err().contains("--time-format"));
        assert!(read("%d.%m.%Y", "UTC", "2026-11-24").unwrap_err().contains("does not fit"));
        assert!("Mars/Olympus".parse::<Zone>().unwrap_err().contains("Europe/Berlin"));
    }

    #[test]
    fn an_hour_that_clocks_showed_twice_is_counted() {
        let Ok(zone) = "Europe/Berlin".parse::<Zone>() else {
            eprintln!("skipped: there is no time zone database");
            return;
        };
        let mut moments = Moments::new(TimeForm::Auto, zone);
        let time = moments.read(&Cell::Text("2026-10-25 02:30:00".to_owned())).unwrap();
        assert_eq!((time.to_string().as_str(), moments.ambiguous()), ("2026-10-25T00:30:00Z", 1));
    }
}
