//! `hedgerow decisions`: what was decided here, by which rule, on which facts.

use clap::{Args, Subcommand};

pub(crate) mod definition;
mod filter;
pub(crate) mod find;
mod list;
mod show;
mod tail;
pub(crate) mod view;

use super::Context;
use crate::exit::Failed;

/// What this node decided: who asked for what, the verdict, the rule and the facts.
///
/// Every message that is decided on leaves a record, allowed or not. Each node keeps its own: one
/// of a call at the caller's node, at each relay, and at the server's node.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct DecisionsCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(list::List),
    Show(show::Show),
    Tail(tail::Tail),
}

impl DecisionsCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        match self.action {
            Action::List(list) => list.run(context).await,
            Action::Show(show) => show.run(context).await,
            Action::Tail(tail) => tail.run(context).await,
        }
    }
}
