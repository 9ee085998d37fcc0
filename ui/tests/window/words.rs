//! Times and numbers as people read them.

use sightglass_protocol::{UtcNanos, time::SECOND};
use sightglass_ui::{time_text, zoom_for};

#[test]
fn times_read_as_in_the_engine() {
    for text in [
        "1970-01-01T00:00:00Z",
        "2000-02-29T23:59:59Z",
        "2026-11-24T08:15:02Z",
        "1999-12-31T00:00:01Z",
        "2100-03-01T12:00:00Z",
    ] {
        let time: UtcNanos = text.parse().expect("a time");
        assert_eq!(time_text::date_clock(time), text.replace('T', " ").replace('Z', " UTC"));
    }
    assert_eq!(time_text::clock_millis(UtcNanos(-1)), "23:59:59.999");
}

#[test]
fn durations_read_in_two_units() {
    for (nanos, text) in [
        (-SECOND, "0 s"),
        (SECOND / 2, "0.5 s"),
        (59 * SECOND, "59 s"),
        (200 * SECOND, "3 min 20 s"),
        (7_500 * SECOND, "2 h 05 min"),
        (277_200 * SECOND, "3 d 5 h"),
    ] {
        assert_eq!(time_text::duration(nanos), text);
    }
}

#[test]
fn values_have_the_decimals_of_their_range() {
    assert_eq!(time_text::value(51.3412, 1000.0), "51");
    assert_eq!(time_text::value(51.3412, 100.0), "51.3");
    assert_eq!(time_text::value(-0.01, 100.0), "0.0");
    assert_eq!(time_text::bytes(999_960), "1.0 MB");
    assert_eq!(time_text::count(1_234_567), "1\u{a0}234\u{a0}567");
}

#[test]
fn a_larger_screen_is_zoomed_to_the_same_reading_size() {
    for (points, zoom) in
        [((1366.0, 768.0), 1.0), ((1920.0, 1080.0), 1.2), ((3840.0, 2160.0), 2.5), ((800.0, 600.0), 1.0)]
    {
        assert_eq!(zoom_for(egui::Vec2::new(points.0, points.1)), zoom);
    }
}
