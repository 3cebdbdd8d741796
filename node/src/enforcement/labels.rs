//! Labels of the data that calls touch.
//!
//! What the bundle says of a target every hop derives for itself. What results were tagged with only
//! the caller's node can put together: it remembers, of each of its agents, the labels of the
//! results that agent was handed, and signs them into the requests that follow. Labels are only
//! ever added: a header that says fewer than a hop derives is judged by what that derives.
//!
//! They stay with the agent and not with one client session, or an agent that has read what it must
//! not pass on would open another. The memory is lost with the process, and bounded; a result for
//! which there is no room is not handed on.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::envelope::{Direction, Header, Kind};
use protocol::limits::MAX_INTENTS;
use protocol::name::Name;
use protocol::policy::{Facts, Policy, Verdict};
use protocol::record::Point;
use protocol::time::UnixMillis;
use protocol::trust::MemberFacts;

use super::{Enforcer, Stopped};

/// How long labels stay with an agent after the last request it made: long enough that whatever
/// still holds the data has been idle, short enough that an agent used day by day begins anew.
pub const LABELS_KEPT_MS: u64 = 60 * 60 * 1000;

/// Most agents of this node whose labels are kept at once.
pub const MAX_LABELLED_AGENTS: usize = 4096;

/// The reason for what a document's `labels` forbid.
const LABEL_NOT_ALLOWED: &str = "label_not_allowed";

/// The refusal of a message with more labels than a header holds, or of a result that would leave
/// an agent with more.
pub const TOO_MANY_LABELS: &str = "too_many_labels";

/// The refusal of a tagged result for which no room is left in the memory of labels.
pub const TOO_MANY_LABELLED: &str = "too_many_labelled";

/// Told of an agent that what it may do may be less now.
pub type Labelled = dyn Fn(&Name) + Send + Sync;

/// The labels of the results that agents of this node were handed.
#[derive(Debug, Default)]
pub(super) struct Touched(Mutex<HashMap<Name, Data>>);

#[derive(Debug)]
struct Data {
    labels: BTreeSet<String>,
    until: UnixMillis,
}

const fn kept_until(now: UnixMillis) -> UnixMillis {
    UnixMillis(now.0.saturating_add(LABELS_KEPT_MS))
}

impl Touched {
    fn agents(&self) -> MutexGuard<'_, HashMap<Name, Data>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The labels that go with a request this agent makes now; they stay for as long again.
    pub(super) fn of(&self, agent: &Name, now: UnixMillis) -> Vec<String> {
        let mut agents = self.agents();
        let Some(data) = agents.get_mut(agent).filter(|data| data.until > now) else {
            return Vec::new();
        };
        data.until = kept_until(now);
        data.labels.iter().cloned().collect()
    }

    /// Remembers that this agent is handed a result with these labels. Returns whether it had not all
    /// of them.
    fn add<'l>(
        &self,
        agent: &Name,
        labels: impl Iterator<Item = &'l String>,
        now: UnixMillis,
    ) -> Result<bool, Stopped> {
        let mut labels = labels.peekable();
        if labels.peek().is_none() {
            return Ok(false);
        }
        let mut agents = self.agents();
        if !agents.contains_key(agent) && agents.len() >= MAX_LABELLED_AGENTS {
            agents.retain(|_, data| data.until > now);
            if agents.len() >= MAX_LABELLED_AGENTS {
                let message = "this node keeps the labels of as many agents as it can; try later";
                return Err(Stopped::refuse(TOO_MANY_LABELLED, message));
            }
        }
        let kept = agents.get(agent).filter(|data| data.until > now);
        let mut all = kept.map(|data| data.labels.clone()).unwrap_or_default();
        let before = all.len();
        all.extend(labels.cloned());
        bounded(all.len())?;
        let more = all.len() > before;
        let until = kept_until(now);
        agents.insert(agent.clone(), Data { labels: all, until });
        Ok(more)
    }
}

/// Whether a header holds so many.
fn bounded(count: usize) -> Result<(), Stopped> {
    if count <= MAX_INTENTS {
        return Ok(());
    }
    let message = format!("the data touched has {count} labels, a header holds {MAX_INTENTS}");
    Err(Stopped::refuse(TOO_MANY_LABELS, message))
}

/// A refusal because of labels tells where they come from, if not from the bundle: whoever looks at
/// the target alone finds none.
pub(super) fn explained(mut verdict: Verdict, facts: &Facts<'_>, policy: &dyn Policy) -> Verdict {
    let denial = match &mut verdict {
        Verdict::Hold(denial) | Verdict::Deny(denial) | Verdict::Sever(denial) => denial,
        Verdict::Allow(_) => return verdict,
    };
    if denial.reason != LABEL_NOT_ALLOWED {
        return verdict;
    }
    let (host, target) = (facts.host().name.as_str(), facts.target.unwrap_or_default());
    let placed = policy.labelled(host, facts.server.as_str(), target);
    // The message ends with the labels that are not allowed, and no others.
    let named = denial.message.rsplit(" labelled ").next();
    let named = named.unwrap_or_default();
    let refused = |label: &str| named.contains(&format!("`{label}`"));
    let carried = |label: &&String| !placed.contains(label) && refused(label.as_str());
    let mut carried = facts.labels.iter().filter(carried);
    if let Some(label) = carried.next() {
        let minutes = LABELS_KEPT_MS / 60_000;
        let told = format!(
            "agent `{}` was handed data labelled `{label}`, which counts until it has asked for nothing for {minutes} min",
            facts.agent
        );
        denial.hint = Some(match denial.hint.take() {
            Some(hint) => format!("{hint}; {told}"),
            None => told,
        });
    }
    verdict
}

impl Enforcer {
    /// The labels of what a message touches, as far as this node knows: those its header claims,
    /// and of a request those the bundle gives its target and, at the caller's node, those of the
    /// results its agent was handed. Sorted.
    pub(super) fn labels(
        &self,
        (point, now): (Point, UnixMillis),
        header: &Header,
        (issuer, audience): (&MemberFacts, &MemberFacts),
        policy: &dyn Policy,
    ) -> Vec<String> {
        let claims = &header.claims;
        let mut labels = claims.labels.clone();
        if claims.kind == Kind::Request {
            let host = match claims.direction {
                Direction::ToServer => audience,
                Direction::ToClient => issuer,
            };
            let target = claims.name.as_deref().unwrap_or_default();
            labels.extend(policy.labelled(host.name.as_str(), claims.server.as_str(), target));
            if point == Point::Ingress {
                labels.extend(self.touched.of(&header.cwt.sub, now));
            }
            labels.sort_unstable();
            labels.dedup();
        }
        labels
    }

    /// As [`Enforcer::labels`], for a header that is to claim them.
    ///
    /// # Errors
    /// [`TOO_MANY_LABELS`].
    pub(super) fn claimable_labels(
        &self,
        at: (Point, UnixMillis),
        header: &Header,
        ends: (&MemberFacts, &MemberFacts),
    ) -> Result<Vec<String>, Stopped> {
        let labels = self.labels(at, header, ends, &*self.policy());
        bounded(labels.len())?;
        Ok(labels)
    }

    /// Remembers what an agent of this node is handed: the labels that the server's node told of
    /// the result, and those this node's policies give it.
    ///
    /// # Errors
    /// [`TOO_MANY_LABELLED`], [`TOO_MANY_LABELS`]: then it must not be handed on.
    pub(super) fn hand_over(
        &self,
        (point, now): (Point, UnixMillis),
        header: &Header,
        tags: &[String],
    ) -> Result<(), Stopped> {
        let claims = &header.claims;
        let result = claims.kind == Kind::Response && claims.direction == Direction::ToClient;
        if point != Point::Ingress || !result {
            return Ok(());
        }
        let labels = claims.labels.iter().chain(tags);
        let more = self.touched.add(&header.cwt.sub, labels, now)?;
        if more && let Some(labelled) = self.labelled.get() {
            labelled(&header.cwt.sub);
        }
        Ok(())
    }

    /// Gives it whom to tell that an agent of this node carries more labels than before; called once,
    /// by whoever builds the node.
    pub fn tell_labelled(&self, labelled: Box<Labelled>) {
        drop(self.labelled.set(labelled));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn later(ms: u64) -> UnixMillis {
        UnixMillis(NOW.0 + ms)
    }

    fn agent(name: &str) -> Name {
        name.parse().unwrap()
    }

    fn add(
        touched: &Touched,
        name: &str,
        labels: &[&str],
        now: UnixMillis,
    ) -> Result<bool, Stopped> {
        let labels: Vec<String> = labels.iter().map(|&l| l.to_owned()).collect();
        touched.add(&agent(name), labels.iter(), now)
    }

    #[test]
    fn labels_add_up_and_go_with_their_agent_alone() {
        let touched = Touched::default();
        assert!(add(&touched, "a", &["pci"], NOW).unwrap());
        assert!(add(&touched, "a", &["phi", "pci"], NOW).unwrap());
        assert!(!add(&touched, "a", &["pci"], NOW).unwrap(), "nothing new");
        assert!(!add(&touched, "b", &[], NOW).unwrap());
        assert_eq!(touched.of(&agent("a"), NOW), ["pci", "phi"]);
        assert!(touched.of(&agent("b"), NOW).is_empty());
        assert_eq!(touched.agents().len(), 1);
    }

    #[test]
    fn they_stay_until_the_agent_was_idle_for_long() {
        let touched = Touched::default();
        add(&touched, "a", &["pci"], NOW).unwrap();
        let almost = later(LABELS_KEPT_MS - 1);
        assert_eq!(touched.of(&agent("a"), almost), ["pci"]);
        // That request has renewed them.
        let again = UnixMillis(almost.0 + LABELS_KEPT_MS - 1);
        assert_eq!(touched.of(&agent("a"), again), ["pci"]);
        let idle = UnixMillis(again.0 + LABELS_KEPT_MS);
        assert!(touched.of(&agent("a"), idle).is_empty());
        add(&touched, "a", &["phi"], idle).unwrap();
        assert_eq!(touched.of(&agent("a"), idle), ["phi"]);
    }

    #[test]
    fn no_agent_has_more_than_a_header_holds() {
        let touched = Touched::default();
        for number in 0..MAX_INTENTS {
            add(&touched, "a", &[&format!("l{number}")], NOW).unwrap();
        }
        add(&touched, "a", &["l0"], NOW).unwrap();
        let refused = add(&touched, "a", &["more"], NOW).unwrap_err();
        assert_eq!(refused.reason(), TOO_MANY_LABELS);
        assert_eq!(touched.of(&agent("a"), NOW).len(), MAX_INTENTS);
    }

    #[test]
    fn a_full_memory_takes_nobody_new_until_one_was_idle() {
        let touched = Touched::default();
        for number in 0..MAX_LABELLED_AGENTS {
            add(&touched, &format!("a{number}"), &["pci"], NOW).unwrap();
        }
        let refused = add(&touched, "new", &["pci"], NOW).unwrap_err();
        assert_eq!(refused.reason(), TOO_MANY_LABELLED);
        add(&touched, "a1", &["phi"], NOW).unwrap();
        add(&touched, "new", &[], NOW).unwrap();
        add(&touched, "new", &["pci"], later(LABELS_KEPT_MS)).unwrap();
    }
}
