//! `sightglass browse`: what a server has, and a draft of a plant's description from it.

use std::path::{Path, PathBuf};

use serde_json::json;
use sightglass_ingest::opcuasrc::{
    browse::{self, Listing, POSITIONS_MAX, Variable},
    certificates,
};
use sightglass_plant::{DraftTag, OpcUaNode, OpcUaServer, SourceKind, TAGS_MAX};
use sightglass_protocol::Quality;

use super::print;
use crate::{EngineError, card};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The server: opc.tcp://HOST:PORT/PATH.
    address: String,
    /// List what lies below this node (ns=2;s=Line, nsu=http://plant/line;s=Line) instead of all that is the plant's.
    #[arg(long)]
    below: Option<OpcUaNode>,
    /// Who asks; nobody in particular where absent.
    #[arg(long)]
    user: Option<String>,
    /// Where the user's password is: keyring:NAME, env:NAME or file:PATH.
    #[arg(long, requires = "user")]
    password: Option<String>,
    /// How the connection is protected: none, Basic256Sha256, Aes128_Sha256_RsaOaep or Aes256_Sha256_RsaPss.
    #[arg(long)]
    security: Option<String>,
    /// sign, or sign_and_encrypt (the default).
    #[arg(long, requires = "security")]
    mode: Option<String>,
    /// The folder of certificates; pki beside the draft, or here, where absent.
    #[arg(long)]
    pki: Option<String>,
    /// Trust the server whose certificate has this thumbprint from now on.
    #[arg(long, value_name = "THUMBPRINT")]
    trust: Option<String>,
    /// Write a draft of a plant's description to this new file.
    #[arg(long, value_name = "PLANT.toml")]
    out: Option<PathBuf>,
    /// What the draft calls the server.
    #[arg(long, default_value = "server")]
    source: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// The keys of the `[[source]]`, as a plant file has them.
    fn keys(&self) -> Vec<(&str, &str)> {
        let given = [
            ("user", &self.user),
            ("password", &self.password),
            ("security", &self.security),
            ("mode", &self.mode),
            ("pki", &self.pki),
        ];
        let given = given.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?)));
        [("kind", "opcua"), ("address", self.address.as_str())].into_iter().chain(given).collect()
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), EngineError> {
    if let Some(out) = arguments.out.as_deref().filter(|out| out.exists()) {
        return Err(EngineError::Usage(format!("{} is there already; --out makes a new file", out.display())));
    }
    let server = server(arguments)?;
    if let Some(thumbprint) = &arguments.trust {
        let certificate = certificates::trust(&server.pki, thumbprint).map_err(EngineError::FoundWrong)?;
        eprintln!("{certificate} is trusted from now on");
    }
    let bar = card::spinner("looking around");
    let listing = browse::browse(&server, arguments.below.as_ref(), |nodes| {
        bar.set_message(format!("looking around: {nodes} nodes"));
    });
    bar.finish_and_clear();
    let listing = listing.map_err(|why| {
        let shown = certificates::untrusted(&server.pki).is_ok_and(|shown| !shown.is_empty());
        let here = if server.security.is_some() && shown { " (here: --trust THUMBPRINT)" } else { "" };
        EngineError::FoundWrong(format!("{}: {why}{here}", server.url))
    })?;
    if listing.variables.is_empty() {
        let missing = listing.left_out.join("; ");
        return Err(EngineError::FoundWrong(format!(
            "{} has no variables there that this user sees. {missing}",
            server.url
        )));
    }
    if arguments.json {
        print::line(as_json(&listing));
    } else {
        table(&listing);
    }
    if let Some(out) = &arguments.out {
        write_draft(arguments, &listing, out)?;
    }
    Ok(())
}

/// The server, read as from a plant file, so that whatever is wrong is told in the same words.
fn server(arguments: &Arguments) -> Result<OpcUaServer, EngineError> {
    // A line has a tag; the server's own time is never read here.
    let tags = [DraftTag { path: vec!["time".to_owned()], address: "i=2258".to_owned(), ..DraftTag::default() }];
    let text = sightglass_plant::draft(&arguments.source, &arguments.keys(), &tags);
    let folder = arguments.out.as_deref().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
    let here = Path::new(".");
    let folder = std::path::absolute(folder.unwrap_or(here)).map_err(EngineError::io("finding the folder", here))?;
    let plant = sightglass_plant::parse(&text, "the server", &folder)?;
    match plant.sources.into_iter().next().map(|source| source.kind) {
        Some(SourceKind::OpcUa(server)) => Ok(server),
        _ => Err(EngineError::Usage(format!("'{}' is no OPC UA server's address", arguments.address))),
    }
}

fn as_json(listing: &Listing) -> serde_json::Value {
    let variable = |variable: &Variable| {
        json!({
            "path": variable.path,
            "node": variable.node.to_string(),
            "kind": variable.kind,
            "value": variable.value,
            "quality": variable.quality.word(),
            "trouble": variable.trouble,
            "unit": variable.unit,
            "range": variable.range,
            "writable": variable.is_writable,
            "addresses": variable.addresses,
        })
    };
    json!({ "variables": listing.variables.iter().map(variable).collect::<Vec<_>>(), "left_out": listing.left_out })
}

fn table(listing: &Listing) {
    const COLUMN_CHARS_MAX: usize = 48;
    let paths: Vec<String> = listing.variables.iter().map(|variable| variable.path.join("/")).collect();
    let widest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0).min(COLUMN_CHARS_MAX);
    let path_width = widest(&mut paths.iter().map(|path| path.chars().count()));
    let kind_width = widest(&mut listing.variables.iter().map(|variable| variable.kind.chars().count()));
    for (variable, path) in listing.variables.iter().zip(&paths) {
        let mut value = variable.value.clone();
        if !variable.unit.is_empty() {
            value.push_str(&format!(" {}", variable.unit));
        }
        if let Some((low, high)) = variable.range {
            value.push_str(&format!(" ({low} to {high})"));
        }
        if variable.quality != Quality::Good {
            value.push_str(&format!(" {}", variable.trouble));
        }
        print::line(format_args!(
            "{path:path_width$}  {:kind_width$}  {}  {}",
            variable.kind,
            variable.node,
            value.trim_start()
        ));
    }
    let numbers = listing.variables.iter().filter(|variable| !variable.addresses.is_empty()).count();
    print::line(format_args!("{} variables, {numbers} of them with numbers", listing.variables.len()));
    for left_out in &listing.left_out {
        print::line(left_out);
    }
}

fn write_draft(arguments: &Arguments, listing: &Listing, out: &Path) -> Result<(), EngineError> {
    let mut tags = Vec::new();
    for variable in &listing.variables {
        for address in &variable.addresses {
            let mut path = variable.path.clone();
            if let Some(((_, position), last)) = address.rsplit_once('#').zip(path.last_mut()) {
                last.push_str(position);
            }
            let mut note = format!("{}, {} when it was looked at", variable.kind, variable.value);
            if variable.is_writable {
                note.push_str("; this user might write it: a setpoint?");
            }
            let unit = variable.unit.clone();
            tags.push(DraftTag { path, address: address.clone(), unit, range: variable.range, note });
        }
    }
    if tags.is_empty() {
        return Err(EngineError::FoundWrong(
            "none of these variables holds a number, so that no draft was written".to_owned(),
        ));
    }
    let text = sightglass_plant::draft(&arguments.source, &arguments.keys(), &tags);
    let mut file = std::fs::File::create_new(out).map_err(EngineError::io("making", out))?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(EngineError::io("writing", out))?;
    eprintln!("{} tags are drafted in {}", tags.len().min(TAGS_MAX), out.display());
    if tags.len() > TAGS_MAX {
        eprintln!("{} more are not: a plant has at most {TAGS_MAX}; start further below", tags.len() - TAGS_MAX);
    }
    let is_cut = |variable: &&Variable| variable.addresses.len() == POSITIONS_MAX;
    for variable in listing.variables.iter().filter(is_cut) {
        eprintln!("{}: of an array, at most {POSITIONS_MAX} positions are drafted", variable.node);
    }
    Ok(())
}
