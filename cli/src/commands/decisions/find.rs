//! One decision by its number, and the others of its call.

use protocol::control::{Decision, DecisionPage, DecisionSearch, MAX_DECISIONS, route};
use serde::Serialize;

use super::definition::{self, Definition};
use crate::client::Client;
use crate::exit::{Exit, Failed};

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
        Failed::new(
            Exit::Failure,
            format!("there is no decision {number}, or none any more"),
        )
        .with_reason("unknown_decision")
        .with_hint("see `hedgerow decisions list`; `[decisions]` says how long they are kept")
    })?;
    let mut call = Vec::new();
    if let Some(request) = decision.request {
        let search = DecisionSearch {
            request: Some(request),
            limit: Some(MAX_DECISIONS),
            // Decisions of one call stand close together.
            before: number.checked_add(AROUND),
            after: number.checked_sub(AROUND),
            ..DecisionSearch::default()
        };
        let page: DecisionPage = client.submit(route::FIND_DECISIONS, &search).await?;
        call = page.decisions;
        call.retain(|d| d.seq != number);
        call.reverse();
    }
    let definition = definition::of(client, &decision).await;
    Ok(Shown {
        decision,
        definition,
        call,
    })
}

/// How many records before and after one the others of its call are looked for.
const AROUND: u64 = 10_000;
