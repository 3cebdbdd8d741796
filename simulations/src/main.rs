//! Discrete-event simulation of Hedgerow's production state machines: the replay window and the
//! stream checks of `protocol`, on real envelopes with a fake `Crypto`, in virtual time.
//!
//! One seed decides a run entirely: same scenario, same seed, same bytes of output. Invariants are
//! checked after every step by an observer outside the machines ([`invariants`]). No sockets,
//! threads or clocks.
//!
//! ```text
//! cargo run -p simulations -- run simulations/scenarios/restarts.toml --seed 7
//! ```
#![forbid(unsafe_code)]

mod envelopes;
mod fake;
mod invariants;
mod network;
mod receiver;
mod report;
mod rng;
mod scenario;
mod sender;
#[cfg(test)]
mod tests;
mod world;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};

use scenario::Scenario;

/// Exit code of a run in which something did not hold.
const FAILED: u8 = 1;

/// Exit code of input that is no scenario.
const INVALID: u8 = 3;

#[derive(Parser)]
#[command(about = "Simulates Hedgerow's production state machines in virtual time")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one scenario file; exits with 1 if an invariant or expectation does not hold.
    Run {
        /// The scenario, for instance simulations/scenarios/restarts.toml
        file: PathBuf,
        /// Decides the run entirely
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many seeds to run, counting up from `--seed`
        #[arg(long, default_value_t = 1)]
        runs: u64,
        /// Virtual seconds, in place of the scenario's
        #[arg(long)]
        seconds: Option<u64>,
        /// For people, or one JSON object a line
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Human,
    Json,
}

fn main() -> ExitCode {
    let Command::Run {
        file,
        seed,
        runs,
        seconds,
        format,
    } = Arguments::parse().command;
    let mut ok = true;
    for seed in (0..runs).map(|i| seed.wrapping_add(i)) {
        match run(&file, seed, seconds, format) {
            Ok(held) => ok &= held,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "error: {error:#}");
                return ExitCode::from(INVALID);
            }
        }
    }
    if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    }
}

/// Runs one seed and prints its report; whether everything held.
fn run(file: &Path, seed: u64, seconds: Option<u64>, format: Format) -> anyhow::Result<bool> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{shown}`"))?;
    let mut scenario = Scenario::parse(&text).with_context(|| format!("`{shown}`"))?;
    if let Some(seconds) = seconds {
        scenario.seconds = seconds;
    }
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let report = world::run(&name, &scenario, seed)?;
    let text = match format {
        Format::Human => format!("{}\n{}", scenario.about, report.human()),
        Format::Json => serde_json::to_string(&report)? + "\n",
    };
    // A reader that has seen enough is no failure of the run.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(report.ok)
}
