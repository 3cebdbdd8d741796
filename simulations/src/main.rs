//! Discrete-event simulation of Hedgerow's production state machines, with a fake `Crypto`, in
//! virtual time: the distribution of trust documents over a whole mesh ([`distribution`]), and the
//! replay window and stream checks of one receiver ([`replay`]).
//!
//! One seed decides a run entirely: same scenario, same seed, same bytes of output. Invariants are
//! checked after every step by an observer outside the machines. No sockets, threads or clocks.
//!
//! ```text
//! cargo run --release -p simulations -- list
//! cargo run --release -p simulations -- run simulations/scenarios/revoke-1000.toml --seed 7
//! ```
#![forbid(unsafe_code)]

mod arguments;
mod distribution;
mod fake;
mod queue;
mod replay;
mod rng;
mod scenario;
mod violations;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;

use arguments::{Arguments, Command, Format, Run};
use scenario::{Preamble, Simulation};

/// Exit code of a run in which something did not hold.
const FAILED: u8 = 1;

/// Exit code of input that is no scenario.
const INVALID: u8 = 3;

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(run) => run_seeds(&run),
        Command::List { folder } => list(&folder).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(INVALID)
        }
    }
}

/// Runs every seed asked for; whether everything held in all of them.
fn run_seeds(run: &Run) -> anyhow::Result<bool> {
    if run.svg.is_some() && run.runs != 1 {
        bail!("`--svg` draws one run, `--runs` asks for {}", run.runs);
    }
    let mut ok = true;
    for seed in (0..run.runs).map(|i| run.seed.wrapping_add(i)) {
        ok &= run_one(run, seed)?;
    }
    Ok(ok)
}

/// Runs one seed and prints its report; whether everything held.
fn run_one(run: &Run, seed: u64) -> anyhow::Result<bool> {
    let (preamble, text) = read(&run.file)?;
    let shown = run.file.display();
    let name = run.file.file_stem().unwrap_or_default().to_string_lossy();
    let (ok, human, json) = match preamble.simulation {
        Simulation::Replay => {
            let parsed = scenario::parse::<replay::scenario::Scenario>(&text);
            let mut scenario = parsed.with_context(|| format!("`{shown}`"))?;
            if run.nodes.is_some() {
                bail!("`--nodes` makes a mesh smaller, and `{shown}` has none");
            }
            scenario.seconds = run.seconds.unwrap_or(scenario.seconds);
            if run.svg.is_some() {
                bail!("`--svg` draws the spread of documents, and `{shown}` has none");
            }
            let report = replay::world::run(&name, &scenario, seed)?;
            (report.ok, report.human(), serde_json::to_string(&report)?)
        }
        Simulation::Distribution => {
            let parsed = scenario::parse::<distribution::scenario::Scenario>(&text);
            let mut scenario = parsed.with_context(|| format!("`{shown}`"))?;
            if let Some(nodes) = run.nodes {
                scenario.shrink(nodes)?;
            }
            scenario.seconds = run.seconds.unwrap_or(scenario.seconds);
            let report = distribution::world::run(&name, &scenario, seed)?;
            if let Some(file) = &run.svg {
                let drawn = std::fs::write(file, distribution::svg::draw(&report));
                drawn.with_context(|| format!("cannot write `{}`", file.display()))?;
            }
            (report.ok, report.human(), serde_json::to_string(&report)?)
        }
    };
    let text = match run.format {
        Format::Human => format!("{}\n{human}", preamble.about),
        Format::Json => json + "\n",
    };
    print(&text);
    Ok(ok)
}

/// A scenario file and what it says of itself.
fn read(file: &Path) -> anyhow::Result<(Preamble, String)> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{shown}`"))?;
    let preamble = scenario::preamble(&text).with_context(|| format!("`{shown}`"))?;
    Ok((preamble, text))
}

/// Prints name and purpose of every scenario in `folder`.
fn list(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read `{shown}`"))?;
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            files.push(path);
        }
    }
    files.sort();
    for file in files {
        let (preamble, _) = read(&file)?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        print(&format!("{name:<24} {}\n", preamble.about));
    }
    Ok(())
}

/// Writes to standard output. A reader that has seen enough is no failure of the run.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
