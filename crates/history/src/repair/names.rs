//! The names that rows refer to (plants, lines, cameras, tags): copied, and stood in for where they are lost, so that no
//! row is lost with its name.

use std::collections::BTreeSet;

use sightglass_protocol::{CameraId, CameraInfo, LineId, LineInfo, PlantInfo, Role, TagId, TagInfo, time::SECOND};
use sqlx::{Sqlite, Transaction, sqlite::SqliteConnection};

use super::{Repaired, rows_named, salvage::Salvage};
use crate::{
    copy::{Copying, Value, values},
    plant::look_up,
    verify::{Problem, said},
};

/// A table of names, and the one that its second column refers to.
const TABLES: [(&str, Option<&str>); 5] =
    [("plant", None), ("line", None), ("camera", Some("line")), ("tag", Some("line")), ("session", Some("plant"))];

/// What there is to refer to.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: BTreeSet<(&'static str, i64)>,
}

impl Names {
    /// Copies all that can be read.
    pub(super) async fn copy(
        source: &mut SqliteConnection,
        target: &mut Transaction<'_, Sqlite>,
        repaired: &mut Repaired,
    ) -> Result<Self, sqlx::Error> {
        let mut names = Self::default();
        for (table, parent) in TABLES {
            let copying = Copying::small(source, target, table, "id").await?;
            if copying.columns.is_empty() {
                repaired.lost.push(Problem::lost(table, "the whole table is unreadable"));
                continue;
            }
            let mut salvage = Salvage::new(source, &copying.select(), table, copying.key).await;
            let mut saved = 0;
            while let Some(rows) = salvage.next(source).await {
                for row in &rows {
                    let row = match values(row) {
                        Ok(row) => row,
                        Err(error) => {
                            repaired.lost.push(Problem::lost(table, said(&error)));
                            continue;
                        }
                    };
                    let id = row.first().and_then(Value::int).unwrap_or(0);
                    if let (Some(parent), Some(wanted)) = (parent, row.get(1).and_then(Value::int))
                        && !names.known.contains(&(parent, wanted))
                    {
                        if parent == "plant" {
                            repaired.lost.push(Problem::lost(format!("{table} {id}"), "its plant is lost"));
                            continue;
                        }
                        names.stand_in(target, parent, wanted, repaired).await?;
                    }
                    match copying.insert(target, "INSERT OR IGNORE", &row).await {
                        Ok(1) => {
                            names.known.insert((table, id));
                            saved += 1;
                        }
                        Ok(_) => repaired.lost.push(Problem::lost(format!("{table} {id}"), "another row has its name")),
                        Err(error) => repaired.lost.push(Problem::lost(format!("{table} {id}"), said(&error))),
                    }
                }
            }
            for (from, to, what) in salvage.lost {
                repaired.lost.push(Problem::lost(rows_named(table, from, to), what));
            }
            repaired.saved.insert(table, saved);
        }
        Ok(names)
    }

    /// Makes sure of what a row of `table` refers to by its second column.
    pub(super) async fn need(
        &mut self,
        target: &mut Transaction<'_, Sqlite>,
        table: &str,
        id: i64,
        repaired: &mut Repaired,
    ) -> Result<(), sqlx::Error> {
        let parent = match table {
            "chunk" | "rollup" | "correction" => "tag",
            "output" | "advisory" => "line",
            "clip" => "camera",
            _ => return Ok(()),
        };
        if self.known.contains(&(parent, id)) {
            return Ok(());
        }
        self.stand_in(target, parent, id, repaired).await
    }

    async fn stand_in(
        &mut self,
        target: &mut Transaction<'_, Sqlite>,
        table: &'static str,
        id: i64,
        repaired: &mut Repaired,
    ) -> Result<(), sqlx::Error> {
        let name = format!("recovered {table} {id}");
        if table != "line" {
            // Which line it was on is not known.
            sqlx::query("INSERT INTO line (name) SELECT 'recovered' WHERE NOT EXISTS (SELECT 1 FROM line)")
                .execute(&mut **target)
                .await?;
        }
        let sql = match table {
            "line" => "INSERT INTO line (id, name) VALUES (?1, ?2)",
            "camera" => "INSERT INTO camera (id, line, name) VALUES (?1, (SELECT min(id) FROM line), ?2)",
            _ => "INSERT INTO tag (id, line, name, version, unit) VALUES (?1, (SELECT min(id) FROM line), ?2, 1, '')",
        };
        sqlx::query(sql).bind(id).bind(&name).execute(&mut **target).await?;
        let what = format!("its name is lost; what belongs to it is kept as '{name}'");
        repaired.lost.push(Problem::lost(format!("{table} {id}"), what));
        self.known.insert((table, id));
        Ok(())
    }

    /// Makes sure that the last run has a plant whose names are all there, since that is what a reader shows.
    pub(super) async fn settle(
        &mut self,
        target: &mut Transaction<'_, Sqlite>,
        repaired: &mut Repaired,
    ) -> Result<(), sqlx::Error> {
        let info: Option<String> = sqlx::query_scalar(
            "SELECT plant.info FROM session JOIN plant ON plant.id = session.plant ORDER BY session.id DESC LIMIT 1",
        )
        .fetch_optional(&mut **target)
        .await?;
        let plant = info.as_deref().map(serde_json::from_str::<PlantInfo>);
        let reason = match plant {
            Some(Ok(plant)) => match look_up(target, &plant).await {
                Ok(_) => return Ok(()),
                Err(_) => "the last run's plant names what is not there".to_owned(),
            },
            Some(Err(error)) => format!("the last run's plant cannot be read: {error}"),
            None => "no run and its plant can be read".to_owned(),
        };
        let plant = from_names(target).await?;
        let info = serde_json::to_string(&plant).map_err(|error| sqlx::Error::Encode(error.into()))?;
        sqlx::query("INSERT INTO plant (info) VALUES (?1) ON CONFLICT DO NOTHING")
            .bind(&info)
            .execute(&mut **target)
            .await?;
        sqlx::query("INSERT INTO session (plant, clean) SELECT id, 1 FROM plant WHERE info = ?1")
            .bind(&info)
            .execute(&mut **target)
            .await?;
        repaired.lost.push(Problem::lost("plant", format!("{reason}; a plain one with all names stands in for it")));
        Ok(())
    }
}

/// A plant of all names that the file ever had, each tag with its last unit.
async fn from_names(target: &mut Transaction<'_, Sqlite>) -> Result<PlantInfo, sqlx::Error> {
    let lines: Vec<(i64, String)> =
        sqlx::query_as("SELECT id, name FROM line ORDER BY id").fetch_all(&mut **target).await?;
    let tags: Vec<(i64, String, String)> = sqlx::query_as(
        "SELECT line, name, unit FROM tag AS t
         WHERE version = (SELECT max(version) FROM tag WHERE line = t.line AND name = t.name) ORDER BY id",
    )
    .fetch_all(&mut **target)
    .await?;
    let cameras: Vec<(i64, String)> =
        sqlx::query_as("SELECT line, name FROM camera ORDER BY id").fetch_all(&mut **target).await?;
    let place = |id: i64| lines.iter().position(|line| line.0 == id).unwrap_or(0);
    let tags: Vec<TagInfo> = tags
        .into_iter()
        .enumerate()
        .map(|(index, (line, name, unit))| TagInfo {
            id: TagId::from_index(index),
            line: LineId(place(line) as u16),
            name,
            description: String::new(),
            unit,
            range: None,
            role: Role::Measurement,
        })
        .collect();
    let cameras: Vec<CameraInfo> = cameras
        .into_iter()
        .enumerate()
        .map(|(index, (line, name))| CameraInfo {
            id: CameraId(index as u16),
            line: LineId(place(line) as u16),
            name,
            roi: None,
            fps: 0.0,
        })
        .collect();
    let lines = lines.iter().enumerate().map(|(index, (_, name))| {
        let id = LineId(index as u16);
        LineInfo {
            id,
            name: name.clone(),
            tick_ns: SECOND,
            tags: tags.iter().filter(|tag| tag.line == id).map(|tag| tag.id).collect(),
            cameras: cameras.iter().filter(|camera| camera.line == id).map(|camera| camera.id).collect(),
        }
    });
    Ok(PlantInfo { name: "recovered".to_owned(), lines: lines.collect(), tags, cameras })
}
