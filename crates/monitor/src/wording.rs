//! What an advisory says, in the field's words.

use sightglass_protocol::{
    AdvisoryKind, Band, Cause, PatchMap, PlantInfo, ScorePart, Subject, TagSurprise, UnknownGround,
};

/// How many further causes a title names.
const TITLE_OTHERS_MAX: usize = 2;
/// A further cause is named in the title from this share on.
const TITLE_SHARE_MIN: f32 = 0.1;

/// A tag's or camera's name.
pub(crate) fn name(subject: Subject, plant: &PlantInfo) -> &str {
    match subject {
        Subject::Tag(tag) => plant.tags.get(tag.index()).map_or("a tag", |tag| &tag.name),
        Subject::Camera(camera) => plant.cameras.get(camera.index()).map_or("a camera", |camera| &camera.name),
    }
}

/// Why a tag is a cause.
pub(crate) fn tag_reason(surprise: &TagSurprise) -> String {
    let side = match (surprise.predicted, surprise.actual) {
        (Some(Band { low, .. }), Some(actual)) if actual < f64::from(low) => "below its prediction",
        (Some(Band { high, .. }), Some(actual)) if actual > f64::from(high) => "above its prediction",
        _ => return surprise.part.phrase().to_owned(),
    };
    match surprise.part {
        ScorePart::Drift => format!("drifting {side}"),
        _ => side.to_owned(),
    }
}

/// Why a setpoint or mode is a cause: where it stands, and where it stood in training.
pub(crate) fn ground_reason(ground: &UnknownGround, plant: &PlantInfo) -> String {
    let unit = plant.tags.get(ground.tag.index()).map_or("", |tag| tag.unit.as_str());
    let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
    let number = |value: f64| format!("{}", (value * 1e3).round() / 1e3);
    let stretch = |&(low, high): &(f64, f64)| {
        if low == high { number(low) } else { format!("{} to {}", number(low), number(high)) }
    };
    let seen = ground.seen.iter().map(stretch).collect::<Vec<_>>().join(" or ");
    format!("at {}{unit} was never seen in training ({seen}{unit})", number(ground.value))
}

/// Why a camera is a cause: how much of the picture, and where.
pub(crate) fn picture_reason(map: &PatchMap, is_everywhere: bool) -> String {
    let what = match map.part {
        ScorePart::Latent => "picture not foreseen",
        ScorePart::Appearance | ScorePart::Residual | ScorePart::Drift => "picture unlike normal running",
    };
    if is_everywhere {
        return format!("{what} almost everywhere");
    }
    let limit = map.scores.iter().copied().filter(|score| score.is_finite()).fold(0.0_f32, f32::max).min(1.0);
    let (mut count, mut row_sum, mut col_sum) = (0_usize, 0.0, 0.0);
    for (index, score) in map.scores.iter().enumerate() {
        if *score >= limit {
            count += 1;
            row_sum += (index / usize::from(map.cols.max(1))) as f32;
            col_sum += (index % usize::from(map.cols.max(1))) as f32;
        }
    }
    let third = |sum: f32, length: u16, names: [&'static str; 3]| {
        let middle = (sum / count.max(1) as f32 + 0.5) / f32::from(length.max(1));
        names[((middle * 3.0) as usize).min(2)]
    };
    let row = third(row_sum, map.rows, ["top", "", "bottom"]);
    let col = third(col_sum, map.cols, ["left", "", "right"]);
    let place = match (row, col) {
        ("", "") => "centre".to_owned(),
        (row, col) => format!("{row} {col}").trim().to_owned(),
    };
    let patches = if count == 1 { "patch" } else { "patches" };
    format!("{what} at {count} {patches} ({place})")
}

/// An advisory's title from its causes.
pub(crate) fn title(kind: AdvisoryKind, causes: &[Cause], line_name: &str, plant: &PlantInfo) -> String {
    let Some((first, others)) = causes.split_first() else {
        return format!("{line_name}: not foreseen as a whole");
    };
    let first_name = name(first.subject, plant);
    let mut title = match (kind, first.subject) {
        (AdvisoryKind::Process | AdvisoryKind::Model, Subject::Tag(_)) => format!("{first_name} {}", first.reason),
        _ => format!("{first_name}: {}", first.reason),
    };
    let named: Vec<&str> = others
        .iter()
        .filter(|cause| cause.share >= TITLE_SHARE_MIN)
        .take(TITLE_OTHERS_MAX)
        .map(|cause| name(cause.subject, plant))
        .collect();
    if !named.is_empty() {
        title.push_str(", with ");
        title.push_str(&named.join(", "));
    }
    title
}
