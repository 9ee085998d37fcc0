//! The command line of the window.

use std::path::PathBuf;

use clap::Parser;

use crate::engine_process::Start;

/// The window of Sightglass: shows the plant that the engine of a data folder watches.
#[derive(Debug, Parser)]
#[command(name = "sightglass-desktop", version)]
pub(crate) struct Options {
    /// The engine's data folder [default: `sightglass` in this user's folder for application data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The engine's program [default: `sightglass` beside this program, else in PATH]
    #[arg(long, value_name = "PATH")]
    engine: Option<PathBuf>,
    /// Start the engine with this plant when none serves the data folder
    #[arg(long, value_name = "PLANT.toml", conflicts_with = "demo")]
    plant: Option<PathBuf>,
    /// Start the engine with the simulated line when none serves the data folder
    #[arg(long)]
    demo: bool,
    /// The fault that the simulated line develops
    #[arg(long, value_name = "NAME", requires = "demo")]
    fault: Option<String>,
    /// The seed of the simulated line
    #[arg(long, value_name = "N", requires = "demo")]
    seed: Option<u64>,
    /// The screen that the window opens with
    #[arg(long, value_enum, default_value_t = Screen::Overview)]
    screen: Screen,
}

/// The screens that a window can open with, by the names that the page knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Screen {
    /// Every line of the plant
    Overview,
    /// One line, live
    Line,
}

impl Screen {
    /// The fragment of the page's address.
    pub(crate) const fn fragment(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Line => "line",
        }
    }
}

/// What the window has to do, with every default settled.
#[derive(Debug)]
pub(crate) struct Launch {
    /// The engine's data folder, absolute.
    pub(crate) data: PathBuf,
    /// The engine's program where the user named one.
    pub(crate) engine: Option<PathBuf>,
    /// How to start the engine when none serves the data folder; `None`: only ever connect.
    pub(crate) start: Option<Start>,
    /// The first screen.
    pub(crate) screen: Screen,
}

impl Options {
    /// Settles the defaults.
    ///
    /// # Errors
    /// A sentence, when there is no folder for application data or the plant's file cannot be opened.
    pub(crate) fn launch(self) -> Result<Launch, String> {
        let data = match self.data {
            Some(data) => data,
            None => default_data_folder()
                .ok_or("this user has no folder for application data; name the engine's data folder with --data DIR")?,
        };
        let data = std::path::absolute(&data)
            .map_err(|error| format!("the data folder {} is no usable path: {error}", data.display()))?;
        let start = match (self.plant, self.demo) {
            (Some(plant), _) => {
                let plant = plant.canonicalize().map_err(|error| {
                    format!("the plant description {} cannot be opened: {error}; check --plant", plant.display())
                })?;
                Some(Start::Run { plant })
            }
            (None, true) => Some(Start::Demo { fault: self.fault, seed: self.seed }),
            (None, false) => None,
        };
        Ok(Launch { data, engine: self.engine, start, screen: self.screen })
    }
}

fn default_data_folder() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = if cfg!(windows) {
        folder("LOCALAPPDATA")
    } else {
        folder("XDG_DATA_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/share")))
    };
    base.map(|base| base.join("sightglass"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(arguments: &[&str]) -> Result<Launch, String> {
        let all = std::iter::once("sightglass-desktop").chain(arguments.iter().copied());
        Options::try_parse_from(all).map_err(|error| error.to_string())?.launch()
    }

    #[test]
    fn a_plant_and_the_demo_exclude_each_other() {
        assert!(launch(&["--plant", "p.toml", "--demo"]).unwrap_err().contains("cannot be used with"));
        assert!(launch(&["--fault", "tank-leak"]).unwrap_err().contains("--demo"));
    }

    #[test]
    fn a_missing_plant_file_is_named() {
        let problem = launch(&["--data", "d", "--plant", "/nowhere/plant.toml"]).unwrap_err();
        assert!(problem.contains("/nowhere/plant.toml") && problem.contains("--plant"), "{problem}");
    }

    #[test]
    fn without_a_plant_the_window_only_connects() {
        let launch = launch(&["--data", "some/folder"]).unwrap();
        assert!(launch.start.is_none());
        assert!(launch.data.is_absolute());
    }
}
