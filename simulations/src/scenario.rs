//! Scenario files: the one way in which both simulations read theirs.
//!
//! A file is TOML and says first which simulation it is for and what it shows; all else is that
//! simulation's own. A key nobody knows is an error, and so is a file for the other simulation.

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Table;

/// Which simulation a scenario file is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Simulation {
    /// Calls to one receiver.
    #[default]
    Replay,
    /// Trust documents through a mesh.
    Distribution,
}

/// What every scenario file says, whichever simulation it is for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Preamble {
    #[serde(default)]
    pub(crate) simulation: Simulation,
    /// What the scenario shows, one sentence.
    pub(crate) about: String,
}

/// What one simulation reads.
pub(crate) trait Kind: DeserializeOwned {
    /// Which it is.
    const SIMULATION: Simulation;

    /// Says what of it cannot be run.
    fn validate(&self) -> anyhow::Result<()>;
}

/// The preamble of a file, and the rest of it.
fn divide(text: &str) -> anyhow::Result<(Preamble, Table)> {
    let mut rest: Table = toml::from_str(text).context("not a scenario")?;
    let keys = ["simulation", "about"].into_iter();
    let own = keys.filter_map(|key| rest.remove(key).map(|value| (key.to_owned(), value)));
    let own: Table = own.collect();
    let preamble = Preamble::deserialize(own).context("not a scenario")?;
    Ok((preamble, rest))
}

/// Reads what a file says of itself.
pub(crate) fn preamble(text: &str) -> anyhow::Result<Preamble> {
    divide(text).map(|(preamble, _)| preamble)
}

/// Reads and checks a scenario.
pub(crate) fn parse<K: Kind>(text: &str) -> anyhow::Result<K> {
    let (preamble, rest) = divide(text)?;
    ensure!(
        preamble.simulation == K::SIMULATION,
        "not a scenario of this simulation"
    );
    let scenario = K::deserialize(rest).context("not a scenario")?;
    scenario.validate()?;
    Ok(scenario)
}

/// The files in the folder of scenarios, each with its name and text.
#[cfg(test)]
pub(crate) fn all() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    let files = std::fs::read_dir(folder).unwrap();
    let read = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    files.map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{distribution, replay};

    #[test]
    fn every_file_is_read_by_its_simulation_and_by_no_other() {
        for (name, text) in all() {
            let of = preamble(&text).unwrap().simulation;
            let replay = parse::<replay::scenario::Scenario>(&text);
            let distribution = parse::<distribution::scenario::Scenario>(&text);
            assert_eq!(replay.is_ok(), of == Simulation::Replay, "{name}");
            assert_eq!(
                distribution.is_ok(),
                of == Simulation::Distribution,
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_no_scenario_is_refused() {
        for text in [
            "",
            "about = 1",
            "simulation = \"weather\"\nabout = \"x\"",
            "[",
        ] {
            let error = preamble(text).unwrap_err();
            assert!(format!("{error:#}").contains("not a scenario"), "{error:#}");
        }
    }
}
