//! `hedgerow config`: the configuration file.

use clap::{Args, Subcommand};

use serde_json::json;

use super::Context;
use super::run::seam;
use crate::exit::Failed;
use crate::output::{Format, print};

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
    /// directory and keep what you change; with `--format json` as the text `config` of an object
    Example,
}

impl ConfigCommand {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failed> {
        let Action::Example = self.action;
        let example = seam::example_config();
        match context.output.format {
            Format::Human => print(example),
            Format::Json => context.output.data(&json!({ "config": example }), |_| {}),
        }
    }
}
