//! `hedgerow completions`: completions for a shell.

use clap::CommandFactory;
use serde_json::json;

use super::Context;
use crate::args::Cli;
use crate::exit::Failed;
use crate::output::{Format, print};

/// Print completions for a shell; with `--format json` as the text `completions` of an object.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow completions bash > ~/.local/share/bash-completion/completions/hedgerow
  hedgerow completions zsh > \"${fpath[1]}/_hedgerow\"
  hedgerow completions fish > ~/.config/fish/completions/hedgerow.fish")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Completions {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failed> {
        // Into memory first: the generator panics when stdout is closed.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "hedgerow", &mut script);
        let script = String::from_utf8_lossy(&script);
        match context.output.format {
            Format::Human => print(&script),
            Format::Json => context
                .output
                .data(&json!({ "completions": script }), |_| {}),
        }
    }
}
