//! Which decisions to show: what the query says, and the search for them.

use protocol::control::{Decision, DecisionQuery, Failure};

use super::Source;
use super::limits::{MAX_FIND_BYTES, MAX_SCANNED, READ_AT_ONCE, ROWS};
use super::refusal::Refusal;

/// The verdicts one can look for.
pub(super) const VERDICTS: [&str; 4] = ["allow", "hold", "deny", "sever"];

/// The query of the page as it comes, from a form or a link. An empty value says nothing.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Query {
    verdict: String,
    find: String,
    before: String,
}

/// Which decisions to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// Only those of this verdict.
    pub(super) verdict: Option<&'static str>,
    /// Only those that mention this, in lower case.
    pub(super) find: String,
    /// Only those with a smaller sequence.
    pub(super) before: Option<u64>,
}

/// A page of decisions, the newest first.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// They.
    pub(super) decisions: Vec<Decision>,
    /// From where the next page goes on, unless there is none.
    pub(super) older: Option<u64>,
}

impl Query {
    /// Reads the query.
    ///
    /// # Errors
    /// [`Refusal::Filter`].
    pub(super) fn filter(self) -> Result<Filter, Refusal> {
        let verdict = match self.verdict.as_str() {
            "" => None,
            asked => Some(
                VERDICTS
                    .into_iter()
                    .find(|known| *known == asked)
                    .ok_or(Refusal::Filter("no such verdict"))?,
            ),
        };
        if self.find.len() > MAX_FIND_BYTES {
            return Err(Refusal::Filter("the text to look for is too long"));
        }
        let before = match self.before.as_str() {
            "" => None,
            digits => Some(
                digits
                    .parse()
                    .map_err(|_| Refusal::Filter("`before` is no sequence number"))?,
            ),
        };
        Ok(Filter {
            verdict,
            find: self.find.trim().to_lowercase(),
            before,
        })
    }
}

impl Filter {
    /// Whether it leaves nothing out: the newest decisions, which are shown live.
    pub(super) fn is_live(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it leaves out some of the decisions it goes over.
    pub(super) fn selects(&self) -> bool {
        self.verdict.is_some() || !self.find.is_empty()
    }

    fn admits(&self, decision: &Decision) -> bool {
        let verdict = self.verdict.is_none_or(|v| v == decision.verdict);
        verdict && (self.find.is_empty() || mentions(decision, &self.find))
    }

    /// The page of this filter: at most [`ROWS`] of at most [`MAX_SCANNED`].
    ///
    /// # Errors
    /// Why decisions cannot be read.
    pub(super) async fn search(&self, source: &dyn Source) -> Result<Found, Failure> {
        let mut found = Found::default();
        let mut before = self.before;
        let mut scanned = 0;
        let limit = if self.selects() {
            READ_AT_ONCE
        } else {
            u32::try_from(ROWS).unwrap_or(READ_AT_ONCE)
        };
        while scanned < MAX_SCANNED {
            let query = DecisionQuery {
                before,
                limit: Some(limit),
            };
            let read = source.decisions(query).await?;
            if read.is_empty() {
                return Ok(found);
            }
            for decision in read {
                scanned += 1;
                before = Some(decision.seq);
                if !self.admits(&decision) {
                    continue;
                }
                found.decisions.push(decision);
                if found.decisions.len() == ROWS {
                    found.older = before.filter(|seq| *seq > 0);
                    return Ok(found);
                }
            }
        }
        found.older = before.filter(|seq| *seq > 0);
        Ok(found)
    }
}

/// Whether a decision has the text, in whatever case, in any field that the page shows.
fn mentions(decision: &Decision, text: &str) -> bool {
    let fields = [
        decision.reason.as_deref(),
        decision.issuer.as_deref(),
        decision.agent.as_deref(),
        decision.server.as_deref(),
        decision.method.as_deref(),
        decision.name.as_deref(),
        Some(decision.role.as_str()),
    ];
    let mut fields = fields.into_iter().flatten();
    fields.any(|field| field.to_lowercase().contains(text))
}
