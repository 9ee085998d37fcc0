//! `sightglass trust`: which OPC UA servers a plant trusts.

use std::path::PathBuf;

use sightglass_ingest::opcuasrc::certificates;
use sightglass_plant::SourceKind;

use super::print;
use crate::EngineError;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The plant's description; it names the OPC UA servers and the folder of their certificates.
    plant: PathBuf,
    /// The thumbprint of the certificate to trust from now on, as the server's own screen shows it. Without it, what servers
    /// have shown and nobody has trusted yet is listed.
    thumbprint: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), EngineError> {
    let plant = sightglass_plant::load(&arguments.plant)?;
    let mut folders: Vec<PathBuf> = Vec::new();
    for source in &plant.sources {
        if let SourceKind::OpcUa(server) = &source.kind
            && !folders.contains(&server.pki)
        {
            folders.push(server.pki.clone());
        }
    }
    if folders.is_empty() {
        return Err(EngineError::Usage(
            "the plant has no source of kind \"opcua\", so that there is nothing to trust".to_owned(),
        ));
    }
    let Some(thumbprint) = &arguments.thumbprint else {
        let mut shown = 0;
        for folder in &folders {
            for certificate in certificates::untrusted(folder).map_err(EngineError::FoundWrong)? {
                shown += 1;
                print::line(format_args!("{certificate}, in {}", certificate.path.display()));
            }
        }
        if shown == 0 {
            print::line(
                "no server has shown a certificate that is not trusted yet; connect to it once with `sightglass run`",
            );
        }
        return Ok(());
    };
    let mut refused = String::new();
    for folder in &folders {
        match certificates::trust(folder, thumbprint) {
            Ok(certificate) => {
                print::line(format_args!("{certificate} is trusted from now on; no restart is needed"));
                return Ok(());
            }
            Err(problem) => refused = problem,
        }
    }
    Err(EngineError::FoundWrong(refused))
}
