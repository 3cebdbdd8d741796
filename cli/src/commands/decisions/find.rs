//! One decision by its number, and the others of its call, with what became of its approval.

use std::collections::BTreeMap;

use protocol::control::{Decision, DecisionPage, DecisionSearch, MAX_DECISIONS, route};
use protocol::id::RequestId;
use serde::Serialize;

use super::definition::{self, Definition};
use crate::client::Client;
use crate::exit::Failed;

/// A decision and the others of its call.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Shown {
    /// It.
    pub(crate) decision: Decision,
    /// Whether the definition of the tool that was called was approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) definition: Option<Definition>,
    /// The others, the oldest first.
    pub(crate) call: Vec<Decision>,
}

/// The decision of this number.
pub(crate) async fn find(client: &Client, number: u64) -> Result<Shown, Failed> {
    let search = DecisionSearch {
        before: number.checked_add(1),
        after: number.checked_sub(1),
        limit: Some(1),
        ..DecisionSearch::default()
    };
    let page: DecisionPage = client.submit(route::FIND_DECISIONS, &search).await?;
    let mut found = page.decisions.into_iter();
    let decision = found.find(|d| d.seq == number).ok_or_else(|| {
        Failed::input(format!("there is no decision {number}, or none any more"))
            .with_reason("unknown_decision")
            .with_hint("see `hedgerow decisions list`; `[decisions]` says how long they are kept")
    })?;
    let call = rest(client, &decision).await?;
    let definition = definition::of(client, &decision).await;
    Ok(Shown {
        decision,
        definition,
        call,
    })
}

/// What else was decided of its call: by the same request, and of the same approval. A record of how
/// an approval went on names no request: the calls it was about do.
async fn rest(client: &Client, decision: &Decision) -> Result<Vec<Decision>, Failed> {
    let mut found = BTreeMap::new();
    if let Some(request) = decision.request {
        of_request(client, decision.seq, request, &mut found).await?;
    }
    let mut all = core::iter::once(decision).chain(found.values());
    let approval = all.find_map(|d| d.approval.as_ref().map(|approval| approval.id));
    if let Some(approval) = approval {
        let search = DecisionSearch {
            approval: Some(approval),
            ..around(decision.seq)
        };
        add(client, &search, &mut found).await?;
        let mut requests: Vec<RequestId> = found.values().filter_map(|d| d.request).collect();
        requests.sort_unstable();
        requests.dedup();
        requests.retain(|request| decision.request != Some(*request));
        for request in requests.into_iter().take(MAX_REQUESTS) {
            of_request(client, decision.seq, request, &mut found).await?;
        }
    }
    found.remove(&decision.seq);
    Ok(found.into_values().collect())
}

async fn of_request(
    client: &Client,
    number: u64,
    request: RequestId,
    found: &mut BTreeMap<u64, Decision>,
) -> Result<(), Failed> {
    let search = DecisionSearch {
        request: Some(request),
        ..around(number)
    };
    add(client, &search, found).await
}

/// All that stands close to a record, as the decisions of one call do.
fn around(number: u64) -> DecisionSearch {
    DecisionSearch {
        limit: Some(MAX_DECISIONS),
        before: number.checked_add(AROUND),
        after: number.checked_sub(AROUND),
        ..DecisionSearch::default()
    }
}

async fn add(
    client: &Client,
    search: &DecisionSearch,
    found: &mut BTreeMap<u64, Decision>,
) -> Result<(), Failed> {
    let page: DecisionPage = client.submit(route::FIND_DECISIONS, search).await?;
    found.extend(page.decisions.into_iter().map(|d| (d.seq, d)));
    Ok(())
}

/// Most requests of one approval whose decisions are looked for: a call that is held can be made
/// again while it waits.
const MAX_REQUESTS: usize = 4;

/// How many records before and after one the others of its call are looked for.
const AROUND: u64 = 10_000;
