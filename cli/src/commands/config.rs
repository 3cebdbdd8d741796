//! `hedgerow config`: the configuration file.

use clap::{Args, Subcommand};

use super::run::seam;
use crate::exit::Failed;
use crate::output::print;

/// Show an example configuration file.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct ConfigCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print every key with its default and what it does; put it at `config.toml` in the state
    /// directory and keep what you change
    Example,
}

impl ConfigCommand {
    pub(crate) fn run(self) -> Result<(), Failed> {
        match self.action {
            Action::Example => print(seam::example_config()),
        }
    }
}
