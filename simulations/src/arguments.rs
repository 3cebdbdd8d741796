//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(about = "Simulates Hedgerow's production state machines in virtual time")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Runs one scenario file; exits with 1 if an invariant or expectation does not hold, with 3
    /// if the file is no scenario
    Run(Run),
    /// Lists the scenarios of a folder and what each shows
    List {
        /// Where the scenario files are
        #[arg(default_value = "simulations/scenarios")]
        folder: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct Run {
    /// The scenario, for instance simulations/scenarios/revoke-1000.toml
    pub(crate) file: PathBuf,
    /// Decides the run entirely
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many seeds to run, counting up from `--seed`
    #[arg(long, default_value_t = 1)]
    pub(crate) runs: u64,
    /// Virtual seconds, in place of the scenario's
    #[arg(long)]
    pub(crate) seconds: Option<u64>,
    /// So many nodes at most, and whoever leaves or misbehaves in proportion; of a mesh only
    #[arg(long)]
    pub(crate) nodes: Option<usize>,
    /// For people, or one JSON object a line
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
    /// Draw how the documents spread into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    Human,
    Json,
}
