//! Which column of foreign data is which tag: `map.toml`.
//!
//! ```toml
//! ignore = ["Comment", "Shift"]
//!
//! [columns."Temp 1"]
//! tag = "tank_temperature"
//! unit = "°C"      # must be the tag's unit, as it is after scale and offset
//! scale = 0.1      # value = number in the file * scale + offset
//! offset = -40
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::{FILE_BYTES_MAX, Plant, PlantErrors, nearest};

/// Which column (or name, where rows name their tag) of foreign data is which tag.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportMap {
    /// Columns that are no tag's.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Columns under a name of their own.
    #[serde(default)]
    pub columns: BTreeMap<String, Mapped>,
}

/// What a column is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapped {
    /// The tag's name.
    pub tag: String,
    /// The unit of the values after scale and offset; must be the tag's.
    pub unit: Option<String>,
    /// What numbers are multiplied with.
    #[serde(default = "one")]
    pub scale: f64,
    /// What is added then.
    #[serde(default)]
    pub offset: f64,
}

fn one() -> f64 {
    1.0
}

impl ImportMap {
    /// Reads a map and checks it against the plant.
    ///
    /// # Errors
    /// What is wrong with it, with its place as far as there is one.
    pub fn load(path: &Path, plant: &Plant) -> Result<Self, PlantErrors> {
        let name = path.display().to_string();
        let refuse = |why: String, advice: &str| PlantErrors::of_file(&name, why, advice);
        let readable = "give the path of a map.toml that this user may read";
        let size =
            std::fs::metadata(path).map_err(|error| refuse(format!("cannot read the map: {error}"), readable))?;
        if size.len() > FILE_BYTES_MAX {
            return Err(refuse(format!("the map is larger than {} MiB", FILE_BYTES_MAX >> 20), readable));
        }
        let text =
            std::fs::read_to_string(path).map_err(|error| refuse(format!("cannot read the map: {error}"), readable))?;
        let map: Self = toml::from_str(&text)
            .map_err(|error| refuse(error.to_string().trim_end().to_owned(), "see docs/import.md for its form"))?;
        match map.fault(plant) {
            None => Ok(map),
            Some(fault) => Err(refuse(fault, "correct the map, or the plant's description")),
        }
    }

    fn fault(&self, plant: &Plant) -> Option<String> {
        let names: Vec<&str> = plant.tags.iter().map(|tag| tag.name.as_str()).collect();
        for (column, mapped) in &self.columns {
            let Some(tag) = plant.tags.iter().find(|tag| tag.name == mapped.tag) else {
                let near =
                    nearest(&mapped.tag, &names).map_or(String::new(), |near| format!("; did you mean '{near}'?"));
                return Some(format!("column '{column}': the plant has no tag '{}'{near}", mapped.tag));
            };
            if let Some(unit) = mapped.unit.as_ref().filter(|unit| **unit != tag.unit) {
                return Some(format!(
                    "column '{column}': its unit is '{unit}' and that of tag '{}' is '{}'; convert it with scale and \
                     offset",
                    tag.name, tag.unit
                ));
            }
            if !(mapped.scale.is_finite() && mapped.offset.is_finite() && mapped.scale != 0.0) {
                return Some(format!("column '{column}': scale and offset must be finite, and scale not 0"));
            }
            if self.ignore.contains(column) {
                return Some(format!("column '{column}' is both mapped and ignored"));
            }
        }
        None
    }
}
