//! `hedgerow decisions tail`: the newest, and every one from now on.

use std::time::Duration;

use protocol::control::{Decision, MAX_DECISIONS, route};

use super::filter::Filter;
use super::{list, view};
use crate::commands::Context;
use crate::exit::Failed;
use crate::output::Format;

/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(250);

/// Most decisions shown of one question; a node that decides faster is told of by a line.
const MAX_AT_ONCE: u32 = 10_000;

/// Show the newest decisions, and every one as it is taken, until interrupted.
///
/// With `--format json` one JSON object a line.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow decisions tail --verdict deny
  hedgerow decisions tail --format json | jq .reason")]
pub(super) struct Tail {
    #[command(flatten)]
    filter: Filter,
    /// Begin with so many of those there are
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_DECISIONS)))]
    lines: u32,
    /// End after those there are
    #[arg(long)]
    no_follow: bool,
}

impl Tail {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let client = context.client()?;
        let mut search = self.filter.search()?;
        // From where to go on is known before anything is looked for, so that nothing is missed.
        search.limit = Some(1);
        let newest: protocol::control::DecisionPage =
            client.submit(route::FIND_DECISIONS, &search).await?;
        let mut after = newest.newest;
        if self.lines > 0 {
            let mut first = search.clone();
            first.before = after.and_then(|seq| seq.checked_add(1));
            let (found, _) = list::collect(&client, first, self.lines).await?;
            print(context, found)?;
        }
        if self.no_follow {
            return Ok(());
        }
        loop {
            tokio::time::sleep(PAUSE).await;
            let mut next = search.clone();
            next.after = after;
            let newest: protocol::control::DecisionPage =
                client.submit(route::FIND_DECISIONS, &next).await?;
            if newest.newest <= after {
                continue;
            }
            next.before = newest.newest.and_then(|seq| seq.checked_add(1));
            let (found, left_out) = list::collect(&client, next, MAX_AT_ONCE).await?;
            if let Some(before) = left_out {
                crate::exit::say(&format!(
                    "more than are shown were taken; the rest: hedgerow decisions list --before {before}"
                ));
            }
            after = newest.newest;
            print(context, found)?;
        }
    }
}

/// The oldest first.
fn print(context: &Context, mut found: Vec<Decision>) -> Result<(), Failed> {
    found.reverse();
    for decision in &found {
        match context.output.format {
            Format::Json => context.output.json_line(decision)?,
            Format::Human => context
                .output
                .show(|text| text.line(view::line(decision)))?,
        }
    }
    Ok(())
}
