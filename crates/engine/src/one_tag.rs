//! The smallest plant there is, for tests.

use sightglass_protocol::{LineId, LineInfo, PlantInfo, Role, TagId, TagInfo, time::SECOND};

/// One line with one tag, `level` in mm.
pub(crate) fn plant() -> PlantInfo {
    let tag = TagInfo {
        id: TagId(0),
        line: LineId(0),
        name: "level".to_owned(),
        description: String::new(),
        unit: "mm".to_owned(),
        range: None,
        role: Role::Measurement,
    };
    let (tags, cameras) = (vec![TagId(0)], Vec::new());
    let line = LineInfo { id: LineId(0), name: "line".to_owned(), tick_ns: SECOND, tags, cameras };
    PlantInfo { name: "plant".to_owned(), lines: vec![line], tags: vec![tag], cameras: Vec::new() }
}
