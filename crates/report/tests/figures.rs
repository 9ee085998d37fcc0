//! Figures as SVG text.

use sightglass_protocol::{Band, UtcNanos, time::SECOND};
use sightglass_report::{
    FigureError, IncidentFigure, IncidentSignal, POINTS_MAX, SIGNALS_MAX, incident_figure, training_curves,
};

/// Where an SVG is no well-formed XML, as far as figures use it: tags that nest, attributes in quotes, text escaped.
fn check_well_formed(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        let (text, tag) = rest.split_at(start);
        assert!(!text.contains('>'), "a bracket in text: {text}");
        for (at, _) in text.match_indices('&') {
            assert!(
                ["&lt;", "&gt;", "&amp;", "&quot;", "&apos;"].iter().any(|entity| text[at..].starts_with(entity)),
                "{text}"
            );
        }
        let end = tag.find('>').expect("a tag that ends");
        let inner = &tag[1..end];
        assert_eq!(inner.matches('"').count() % 2, 0, "{inner}");
        assert!(!inner.contains('<'), "{inner}");
        let name = inner.split_whitespace().next().unwrap().trim_end_matches('/');
        if let Some(closed) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed));
        } else if !inner.ends_with('/') && !name.starts_with(['?', '!']) {
            open.push(name);
        }
        rest = &tag[end + 1..];
    }
    assert_eq!(open, Vec::<&str>::new());
    assert!(svg.starts_with("<svg") || svg.starts_with("<?xml"), "{}", &svg[..40]);
}

/// The points of each poly-line or polygon that is drawn in this colour.
fn drawn(svg: &str, element: &str, colour: &str) -> Vec<usize> {
    svg.split('<')
        .filter(|tag| tag.starts_with(element) && tag.contains(colour))
        .map(|tag| {
            tag.split("points=\"")
                .nth(1)
                .map_or(0, |points| points.split('"').next().unwrap().split_whitespace().count())
        })
        .collect()
}

const INK: &str = "#383838";
const BAND: &str = "#D6D6D6";
const WRONG: &str = "#C46200";

fn at(second: i64) -> UtcNanos {
    UtcNanos(1_767_225_600 * SECOND + second * SECOND)
}

/// Two minutes with a fault from second 60 on; no value from 20 to 29, nothing stored from 90 to 99.
fn figure() -> IncidentFigure {
    let value = |second: i64| match second {
        20..30 => f64::NAN,
        60.. => 40.0 - (second - 60) as f64 / 8.0 + (second as f64 * 1.7).sin() / 3.0,
        _ => 40.0 + (second as f64 * 1.7).sin() / 3.0,
    };
    let seconds = || (0..120).filter(|second| !(90..100).contains(second));
    IncidentFigure {
        title: "flow_feed below its prediction, with <pump> & co".to_owned(),
        from: at(0),
        to: at(120),
        gap_ns: 3 * SECOND,
        signals: vec![
            IncidentSignal {
                name: "flow_feed".to_owned(),
                unit: "l/min".to_owned(),
                values: seconds().map(|second| (at(second), value(second))).collect(),
                band: (0..120).map(|second| (at(second), Band { low: 39.0, mid: 40.0, high: 41.0 })).collect(),
            },
            IncidentSignal { name: "level_tank".to_owned(), unit: "%".to_owned(), ..IncidentSignal::default() },
        ],
        scores: seconds()
            .map(|second| (at(second), if second < 64 { 0.4 } else { 0.4 + (second - 64) as f32 / 10.0 }))
            .collect(),
        since: Some(at(71)),
        opened: Some(at(76)),
        closed: None,
    }
}

#[test]
fn an_incident_is_well_formed_and_says_what_it_shows() {
    let svg = incident_figure(&figure()).unwrap();
    check_well_formed(&svg);
    for word in [
        "flow_feed [l/min]",
        "level_tank [%]: no usable value",
        "since",
        "opened",
        "limit",
        "score",
        "00:01:00",
        "2026-01-01 UTC",
    ] {
        assert!(svg.contains(word), "{word} is not in the figure");
    }
    assert!(!svg.contains("closed"), "it is still open");
    assert!(svg.contains("&lt;pump&gt; &amp; co"), "text is escaped");
}

#[test]
fn a_line_is_not_drawn_across_a_gap() {
    let svg = incident_figure(&figure()).unwrap();
    let lines: Vec<usize> = drawn(&svg, "polyline", INK).into_iter().filter(|points| *points > 2).collect();
    // The signal in three pieces (0 to 19, 30 to 89, 100 to 119), then the score in two.
    assert_eq!(lines, [20, 60, 20, 90, 20]);
    let mut whole = figure();
    whole.gap_ns = 60 * SECOND;
    let svg = incident_figure(&whole).unwrap();
    let lines: Vec<usize> = drawn(&svg, "polyline", INK).into_iter().filter(|points| *points > 2).collect();
    assert_eq!(lines, [20, 80, 110], "a value that is not usable cuts, however far a line may reach");
}

#[test]
fn a_band_is_cut_where_nothing_was_predicted() {
    let mut figure = figure();
    figure.signals[0].band[50].1.high = f32::NAN;
    let svg = incident_figure(&figure).unwrap();
    assert_eq!(drawn(&svg, "polygon", BAND).into_iter().map(|points| points / 2).collect::<Vec<_>>(), [50, 69]);
}

#[test]
fn only_what_is_wrong_has_a_colour() {
    let mut figure = figure();
    assert!(!drawn(&incident_figure(&figure).unwrap(), "polyline", WRONG).is_empty());
    figure.scores.iter_mut().for_each(|(_, score)| *score = 0.5);
    (figure.since, figure.opened) = (None, None);
    assert!(!incident_figure(&figure).unwrap().contains(WRONG));
}

#[test]
fn what_lies_outside_of_the_shown_time_is_left_out() {
    let mut figure = figure();
    (figure.from, figure.to) = (at(30), at(60));
    let svg = incident_figure(&figure).unwrap();
    let lines: Vec<usize> = drawn(&svg, "polyline", INK).into_iter().filter(|points| *points > 2).collect();
    assert_eq!(lines, [31, 31]);
    assert!(!svg.contains("opened"));
}

#[test]
fn more_than_a_page_holds_is_refused_with_the_numbers() {
    let mut figure = figure();
    figure.signals[0].values = vec![(at(0), 0.0); POINTS_MAX + 1];
    let text = incident_figure(&figure).unwrap_err().to_string();
    assert!(text.contains("flow_feed has 20001 points") && text.contains("at most 20000"), "{text}");
    figure.signals = vec![IncidentSignal::default(); SIGNALS_MAX + 1];
    assert!(matches!(incident_figure(&figure), Err(FigureError::TooMany { things: "signals", .. })));
    figure.signals.clear();
    figure.to = figure.from;
    assert!(matches!(incident_figure(&figure), Err(FigureError::Empty(_))));
}

#[test]
fn training_curves_name_both_lines_and_mark_the_epoch_that_is_kept() {
    let losses: Vec<(f32, f32)> = (0..30)
        .map(|epoch| (1.0 / (epoch + 1) as f32, 1.2 / (epoch + 1) as f32 + (epoch - 14).max(0) as f32 * 0.02))
        .collect();
    let svg = training_curves(&losses).unwrap();
    check_well_formed(&svg);
    for word in ["training", "held back", "kept: 15", "epoch", "loss"] {
        assert!(svg.contains(word), "{word} is not in the figure");
    }
}

#[test]
fn an_epoch_without_a_loss_leaves_a_gap() {
    let losses = [(1.0, 1.0), (0.9, 0.9), (f32::NAN, 0.8), (0.7, 0.7), (0.6, 0.6), (0.5, 0.5)];
    let svg = training_curves(&losses).unwrap();
    assert_eq!(drawn(&svg, "polyline", "#8C8C8C"), [2, 3]);
    assert!(matches!(training_curves(&[(f32::NAN, f32::NAN)]), Err(FigureError::Empty(_))));
    assert!(training_curves(&[]).is_err());
    check_well_formed(&training_curves(&[(1.0, 1.0)]).unwrap());
}
