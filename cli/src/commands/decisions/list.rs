//! `hedgerow decisions list`: the newest first, page by page.

use protocol::control::{Decision, DecisionPage, DecisionSearch, MAX_DECISIONS, route};

use super::filter::Filter;
use super::view;
use crate::client::Client;
use crate::commands::Context;
use crate::exit::Failed;

/// Most decisions one command lists.
const MAX_LISTED: u32 = 100_000;

/// List decisions, the newest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow decisions list --verdict deny --since 1h
  hedgerow decisions list --agent claude --tool update_price --format json
  hedgerow decisions list --before 4711        # what came before decision 4711")]
pub(super) struct List {
    #[command(flatten)]
    filter: Filter,
    /// Only those before this one
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 50,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LISTED)))]
    limit: u32,
}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let mut search = self.filter.search()?;
        search.before = self.before;
        let client = context.client()?;
        let (found, older) = collect(&client, search, self.limit).await?;
        context.output.data(&found, |text| {
            if found.is_empty() {
                text.line("no such decision");
                return;
            }
            text.table(
                view::HEADERS,
                &found.iter().map(view::row).collect::<Vec<_>>(),
            );
            if let Some(before) = older {
                text.line(format!("there may be older ones: --before {before}"));
            }
        })
    }
}

/// As many as asked for, asking as often as it takes; and where older ones may be.
pub(super) async fn collect(
    client: &Client,
    mut search: DecisionSearch,
    limit: u32,
) -> Result<(Vec<Decision>, Option<u64>), Failed> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut found: Vec<Decision> = Vec::new();
    loop {
        let left = limit.saturating_sub(found.len());
        search.limit = Some(u32::try_from(left).map_or(MAX_DECISIONS, |n| n.min(MAX_DECISIONS)));
        let page: DecisionPage = client.submit(route::FIND_DECISIONS, &search).await?;
        found.extend(page.decisions);
        let Some(older) = page.older else {
            return Ok((found, None));
        };
        // Asked for again, the same place would be answered again.
        let goes_on = search.before.is_none_or(|before| older < before);
        if found.len() >= limit || !goes_on {
            return Ok((found, Some(older)));
        }
        search.before = Some(older);
    }
}
