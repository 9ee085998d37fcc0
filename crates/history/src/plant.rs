//! The names of a plant and the ids that the file gives them.
//!
//! A [`TagId`] is a position in today's description; the file's ids stay with a name (and, for tags, its unit) for
//! ever. What is stored speaks in the file's ids only.

use std::collections::HashMap;

use sightglass_protocol::{CameraId, LineId, PlantInfo, Subject, TagId};
use sqlx::sqlite::SqliteConnection;

/// Today's ids to the file's and back.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    lines: Vec<i64>,
    tags: Vec<i64>,
    cameras: Vec<i64>,
    line_of: HashMap<i64, LineId>,
    tag_of: HashMap<i64, TagId>,
    camera_of: HashMap<i64, CameraId>,
    /// Both sides are the file's ids: for rewriting rows without losing what today's plant no longer has.
    is_identity: bool,
}

impl Ids {
    pub(crate) fn identity() -> Self {
        Self { is_identity: true, ..Self::default() }
    }

    fn new(lines: Vec<i64>, tags: Vec<i64>, cameras: Vec<i64>) -> Self {
        let line_of = lines.iter().enumerate().map(|(index, &id)| (id, LineId::from_index(index))).collect();
        let tag_of = tags.iter().enumerate().map(|(index, &id)| (id, TagId::from_index(index))).collect();
        let camera_of = cameras.iter().enumerate().map(|(index, &id)| (id, CameraId::from_index(index))).collect();
        Self { lines, tags, cameras, line_of, tag_of, camera_of, is_identity: false }
    }

    pub(crate) fn line(&self, line: LineId) -> Option<i64> {
        self.lines.get(line.index()).copied()
    }

    pub(crate) fn tag(&self, tag: TagId) -> Option<i64> {
        if self.is_identity { Some(tag.0.into()) } else { self.tags.get(tag.index()).copied() }
    }

    pub(crate) fn camera(&self, camera: CameraId) -> Option<i64> {
        if self.is_identity { Some(camera.0.into()) } else { self.cameras.get(camera.index()).copied() }
    }

    pub(crate) fn line_of(&self, id: i64) -> Option<LineId> {
        self.line_of.get(&id).copied()
    }

    pub(crate) fn tag_of(&self, id: i64) -> Option<TagId> {
        if self.is_identity { u32::try_from(id).ok().map(TagId) } else { self.tag_of.get(&id).copied() }
    }

    pub(crate) fn camera_of(&self, id: i64) -> Option<CameraId> {
        if self.is_identity { u16::try_from(id).ok().map(CameraId) } else { self.camera_of.get(&id).copied() }
    }

    pub(crate) fn tags(&self) -> &[i64] {
        &self.tags
    }

    /// A subject as (kind, the file's id): 0 none, 1 tag, 2 camera.
    pub(crate) fn subject(&self, subject: Option<Subject>) -> Option<(i64, i64)> {
        match subject {
            None => Some((0, 0)),
            Some(Subject::Tag(tag)) => Some((1, self.tag(tag)?)),
            Some(Subject::Camera(camera)) => Some((2, self.camera(camera)?)),
        }
    }

    /// The way back; `None` for a subject that today's plant does not have.
    pub(crate) fn subject_of(&self, kind: i64, id: i64) -> Option<Option<Subject>> {
        match kind {
            0 => Some(None),
            1 => Some(Some(Subject::Tag(self.tag_of(id)?))),
            2 => Some(Some(Subject::Camera(self.camera_of(id)?))),
            _ => None,
        }
    }
}

/// Gives every name of `plant` its id in the file, adding those that are new. A tag whose unit changed gets a new row;
/// one that got an earlier unit back goes on with that row.
pub(crate) async fn register(connection: &mut SqliteConnection, plant: &PlantInfo) -> Result<Ids, sqlx::Error> {
    let mut lines = Vec::with_capacity(plant.lines.len());
    for line in &plant.lines {
        sqlx::query("INSERT INTO line (name) VALUES (?1) ON CONFLICT DO NOTHING")
            .bind(&line.name)
            .execute(&mut *connection)
            .await?;
        lines.push(
            sqlx::query_scalar("SELECT id FROM line WHERE name = ?1")
                .bind(&line.name)
                .fetch_one(&mut *connection)
                .await?,
        );
    }
    let mut cameras = Vec::with_capacity(plant.cameras.len());
    for camera in &plant.cameras {
        let line = lines[camera.line.index()];
        sqlx::query("INSERT INTO camera (line, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
            .bind(line)
            .bind(&camera.name)
            .execute(&mut *connection)
            .await?;
        cameras.push(
            sqlx::query_scalar("SELECT id FROM camera WHERE line = ?1 AND name = ?2")
                .bind(line)
                .bind(&camera.name)
                .fetch_one(&mut *connection)
                .await?,
        );
    }
    let mut tags = Vec::with_capacity(plant.tags.len());
    for tag in &plant.tags {
        let line = lines[tag.line.index()];
        sqlx::query(
            "INSERT INTO tag (line, name, version, unit)
             VALUES (?1, ?2, (SELECT count(*) + 1 FROM tag WHERE line = ?1 AND name = ?2), ?3) ON CONFLICT DO NOTHING",
        )
        .bind(line)
        .bind(&tag.name)
        .bind(&tag.unit)
        .execute(&mut *connection)
        .await?;
        tags.push(tag_id(connection, line, &tag.name, &tag.unit).await?);
    }
    Ok(Ids::new(lines, tags, cameras))
}

async fn tag_id(connection: &mut SqliteConnection, line: i64, name: &str, unit: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT id FROM tag WHERE line = ?1 AND name = ?2 AND unit = ?3")
        .bind(line)
        .bind(name)
        .bind(unit)
        .fetch_one(connection)
        .await
}

/// The ids of a plant that the file already knows.
pub(crate) async fn look_up(connection: &mut SqliteConnection, plant: &PlantInfo) -> Result<Ids, sqlx::Error> {
    let mut lines = Vec::with_capacity(plant.lines.len());
    for line in &plant.lines {
        lines.push(
            sqlx::query_scalar("SELECT id FROM line WHERE name = ?1")
                .bind(&line.name)
                .fetch_one(&mut *connection)
                .await?,
        );
    }
    let mut cameras = Vec::with_capacity(plant.cameras.len());
    for camera in &plant.cameras {
        cameras.push(
            sqlx::query_scalar("SELECT id FROM camera WHERE line = ?1 AND name = ?2")
                .bind(lines[camera.line.index()])
                .bind(&camera.name)
                .fetch_one(&mut *connection)
                .await?,
        );
    }
    let mut tags = Vec::with_capacity(plant.tags.len());
    for tag in &plant.tags {
        tags.push(tag_id(connection, lines[tag.line.index()], &tag.name, &tag.unit).await?);
    }
    Ok(Ids::new(lines, tags, cameras))
}
