//! Times, durations and numbers as the operator reads them. Times are UTC and say so where they stand alone.

use sightglass_protocol::{UtcNanos, time::SECOND};

const DAY_SECONDS: i64 = 86_400;

/// Year, month and day of a count of days since 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms").
const fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_shifted + 2) / 5 + 1) as u32;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 } as u32;
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// `08:15:02`.
pub fn clock(time: UtcNanos) -> String {
    let of_day = time.0.div_euclid(SECOND).rem_euclid(DAY_SECONDS);
    format!("{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// `08:15`.
pub fn clock_minutes(time: UtcNanos) -> String {
    clock(time)[..5].to_owned()
}

/// `08:15:02.133`.
pub fn clock_millis(time: UtcNanos) -> String {
    format!("{}.{:03}", clock(time), time.0.rem_euclid(SECOND) / 1_000_000)
}

/// `2026-11-24`.
pub fn date(time: UtcNanos) -> String {
    let (year, month, day) = civil_from_days(time.0.div_euclid(SECOND).div_euclid(DAY_SECONDS));
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2026-11-24 08:15:02 UTC`.
pub fn date_clock(time: UtcNanos) -> String {
    format!("{} {} UTC", date(time), clock(time))
}

/// A length of time in its two largest units: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`. A negative one
/// reads as zero.
pub fn duration(nanos: i64) -> String {
    let seconds = nanos.max(0) / SECOND;
    match seconds {
        0 => {
            let tenths = nanos.max(0) / (SECOND / 10);
            if tenths == 0 { "0 s".to_owned() } else { format!("0.{tenths} s") }
        }
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600..DAY_SECONDS => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / DAY_SECONDS, seconds / 3600 % 24),
    }
}

/// A count with thousands apart: `1 234 567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    text
}

/// A size in decimal units: `812 B`, `12.4 MB`.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if number < 1000 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A tag's value with as many decimals as its range deserves: about one in a thousand of it.
pub fn value(value: f64, range_width: f64) -> String {
    let decimals = if range_width > 0.0 { (3.0 - range_width.log10().round()).clamp(0.0, 4.0) as usize } else { 2 };
    let text = format!("{value:.decimals$}");
    // "-0.0" says nothing that "0.0" does not.
    if text.starts_with('-') && text.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.')) {
        text[1..].to_owned()
    } else {
        text
    }
}
