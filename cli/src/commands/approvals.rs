//! `hedgerow approvals`: calls that wait until somebody approves them.

use clap::{Args, Subcommand};
use protocol::approval;
use protocol::control::{AnswerApproval, Approval, ApprovalState, route};
use protocol::human::Human;
use protocol::name::Name;

use super::Context;
use crate::client::Client;
use crate::exit::Failed;
use crate::output::{Text, instant, lasting, now};

/// List the calls that wait for approval, and answer them.
///
/// A policy with `require_approval` holds calls at the node of their server. Whoever it names in
/// `approval.by` answers, as the operator of a node: the answer is signed by that node and bound to
/// the very arguments of the call. Where it names nobody, the operator of the holding node answers.
/// Answers go to the node that holds the call over a link with it, or sealed over the relays that
/// carry calls to it. An approval lets the call pass once: the one that waits, or the same call made
/// again within five minutes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hedgerow approvals
  hedgerow approvals show 1a2b3c4d
  hedgerow approvals approve 1a2b3c4d --reason 'the monthly run'
  hedgerow approvals approve 1a2b3c4d --as ada@example.org
  hedgerow approvals deny 1a2b3c4d
  hedgerow approvals list --node tool-host     what another node holds and you may answer")]
pub(crate) struct Approvals {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List them, those that wait longest first (the default)
    List(List),
    /// Show one with what it asks for and who may answer
    Show(Show),
    /// Let a call pass, once
    Approve(Answer),
    /// Refuse a call
    Deny(Answer),
}

#[derive(Debug, Default, Args)]
struct List {
    /// Those that another node holds and that you may answer
    #[arg(long, value_name = "NODE")]
    node: Option<Name>,
    /// Those that were answered or are over too, as far as they are remembered
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
struct Show {
    /// Its id, or the first eight digits of it
    #[arg(value_name = "ID")]
    approval: String,
    /// The node that holds it, if it is another one
    #[arg(long, value_name = "NODE")]
    node: Option<Name>,
}

#[derive(Debug, Args)]
struct Answer {
    /// Its id, or the first eight digits of it
    #[arg(value_name = "ID")]
    approval: String,
    /// What to say with the answer; the caller is told why it was denied
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The node that holds it, if it is another one
    #[arg(long, value_name = "NODE")]
    node: Option<Name>,
    /// Answer as this human, such as ada@example.org; counts where a policy lets this node vouch for
    /// humans (`vouches_for_humans`)
    #[arg(long = "as", value_name = "HUMAN")]
    human: Option<Human>,
}

impl Approvals {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let client = context.client()?;
        match self.action.unwrap_or_else(|| Action::List(List::default())) {
            Action::List(List { node, all }) => {
                let held = listed(&client, node.as_ref(), all).await?;
                context
                    .output
                    .data(&held, |text| table(&held, node.as_ref(), text))
            }
            Action::Show(Show { approval, node }) => {
                let held = listed(&client, node.as_ref(), true).await?;
                let one = chosen(&held, &approval, node.as_ref())?;
                context.output.data(one, |text| show(one, text))
            }
            Action::Approve(answer) => {
                let answered = answer.submit(&client, route::APPROVE_CALL).await?;
                context
                    .output
                    .data(&answered, |text| outcome(&answered, text))
            }
            Action::Deny(answer) => {
                let answered = answer.submit(&client, route::DENY_CALL).await?;
                context
                    .output
                    .data(&answered, |text| outcome(&answered, text))
            }
        }
    }
}

impl Answer {
    async fn submit(self, client: &Client, path: &str) -> Result<Approval, Failed> {
        self.check()?;
        let answer = AnswerApproval {
            approval: self.approval,
            node: self.node,
            words: self.reason,
            human: self.human,
        };
        client.submit(path, &answer).await
    }

    /// What can stand in no answer is refused before anything is asked of the node.
    fn check(&self) -> Result<(), Failed> {
        if self.reason.as_deref().is_none_or(approval::fit) {
            return Ok(());
        }
        let message = format!(
            "what `--reason` says has at most {} bytes and no control characters",
            approval::MAX_WORDS_BYTES
        );
        Err(Failed::input(message)
            .with_reason("approval_words")
            .with_hint("shorten it, and say it in one line without tabs"))
    }
}

async fn listed(client: &Client, node: Option<&Name>, all: bool) -> Result<Vec<Approval>, Failed> {
    // A name is inert in a query.
    let node = node.map(|node| format!("&node={node}")).unwrap_or_default();
    let path = format!("{}?all={all}{node}", route::APPROVALS);
    client.read(&path).await
}

/// Options that name a node again.
fn at(node: Option<&Name>) -> String {
    node.map(|node| format!(" --node {node}"))
        .unwrap_or_default()
}

fn chosen<'a>(
    held: &'a [Approval],
    text: &str,
    node: Option<&Name>,
) -> Result<&'a Approval, Failed> {
    let mut found = held
        .iter()
        .filter(|a| text.len() >= 8 && a.id.to_string().starts_with(text));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Failed::input(match node {
            Some(node) => format!("node `{node}` holds no call `{text}`"),
            None => format!("this node holds no call `{text}`"),
        })
        .with_reason("unknown_approval")
        .with_hint(match node {
            Some(_) => format!("see `hedgerow approvals list --all{}`", at(node)),
            None => "see `hedgerow approvals list --all`; a call that another node holds is shown \
                     with `--node NODE`"
                .to_owned(),
        })),
        (Some(_), Some(_)) => Err(
            Failed::input(format!("several held calls begin with `{text}`"))
                .with_reason("ambiguous_approval")
                .with_hint("give more digits"),
        ),
    }
}

fn table(held: &[Approval], node: Option<&Name>, text: &mut Text) {
    if held.is_empty() {
        match node {
            Some(node) => text.line(format!("no call waits for approval at node {node}")),
            None => {
                text.line("no call waits for approval at this node");
                text.line(
                    "each node holds the calls of its own servers: `--node NODE` asks another",
                );
            }
        }
        return;
    }
    let rows: Vec<Vec<String>> = held.iter().map(row).collect();
    let headers = ["ID", "STATE", "WHO", "WHAT", "POLICY", "LEFT", "CALLER"];
    text.table(&headers, &rows);
    let at = at(node);
    text.line(format!(
        "what one asks for: `hedgerow approvals show ID{at}`; then approve or deny it"
    ));
}

fn row(held: &Approval) -> Vec<String> {
    let policies: Vec<&str> = held.policies.iter().map(|p| p.policy.as_str()).collect();
    vec![
        held.id.short(),
        held.state.name().to_owned(),
        format!("{}/{}", held.node, held.agent),
        what(held),
        policies.join(" "),
        left(held),
        if held.waiting { "waits" } else { "gone" }.to_owned(),
    ]
}

fn what(held: &Approval) -> String {
    let target = held.name.as_deref().unwrap_or(&held.method);
    format!("{}/{}/{target}", held.holder, held.server)
}

/// How long it can still be answered or made.
fn left(held: &Approval) -> String {
    match held.state {
        ApprovalState::Pending | ApprovalState::Approved => {
            lasting(held.until.0.saturating_sub(now().0))
        }
        ApprovalState::Used
        | ApprovalState::Denied
        | ApprovalState::TimedOut
        | ApprovalState::Revoked => "-".to_owned(),
    }
}

/// Where it stands, and while it is open whether the caller still waits.
fn standing(held: &Approval) -> String {
    let state = held.state.name();
    match held.state {
        ApprovalState::Pending | ApprovalState::Approved if held.waiting => {
            format!("{state}; the caller waits")
        }
        ApprovalState::Pending | ApprovalState::Approved => {
            format!(
                "{state}; the caller has left; the same call made again counts, if \
                 what is then in force lets it pass"
            )
        }
        ApprovalState::Used
        | ApprovalState::Denied
        | ApprovalState::TimedOut
        | ApprovalState::Revoked => state.to_owned(),
    }
}

fn show(held: &Approval, text: &mut Text) {
    text.heading(format!("{} {}", held.method, what(held)));
    text.field("id", held.id.to_string());
    text.field("state", standing(held));
    text.field("agent", format!("{} on {}", held.agent, held.node));
    text.field("node", held.node_id.to_string());
    if let Some(human) = &held.human {
        text.field("human", format!("{human} (as that node says)"));
    }
    text.field("asked", instant(held.asked.0));
    text.field("until", instant(held.until.0));
    text.field("arguments", held.arguments.to_string());
    text.block(&held.params);
    if held.shortened {
        text.line("    … (more follows; the digest is over all of it)");
    }
    for policy in &held.policies {
        let by = match &policy.by {
            None => format!("the operator of node {}", held.holder),
            Some(by) => by.join(", "),
        };
        text.check(
            policy.approved,
            format!("policy {}: {by} may approve", policy.policy),
        );
    }
    for answer in &held.answers {
        let said = if answer.approves {
            "approved"
        } else {
            "denied"
        };
        let words = answer.words.as_ref().map(|w| format!(": {w}"));
        let human = answer.human.as_ref().map(|human| format!("{human} of "));
        text.line(format!(
            "  {}{} {said} it at {}{}",
            human.unwrap_or_default(),
            answer.node,
            instant(answer.at.0),
            words.unwrap_or_default()
        ));
    }
}

fn outcome(held: &Approval, text: &mut Text) {
    let (id, call) = (held.id.short(), what(held));
    match held.state {
        ApprovalState::Approved | ApprovalState::Used if held.answers.is_empty() => {
            text.line(format!("{id} is {}", held.state.name()));
        }
        ApprovalState::Approved | ApprovalState::Used => {
            text.check(
                true,
                format!("approved {call} ({id}): it passes once, if what is then in force lets it"),
            );
        }
        ApprovalState::Denied => text.check(true, format!("denied {call} ({id})")),
        ApprovalState::Pending => {
            text.check(true, format!("your answer to {call} ({id}) is taken"));
            let open = held.policies.iter().filter(|p| !p.approved);
            for policy in open {
                text.warning(format!(
                    "policy {} wants others to approve too",
                    policy.policy
                ));
            }
        }
        ApprovalState::TimedOut => text.check(false, format!("the time of {id} is over")),
        ApprovalState::Revoked => text.check(false, format!("{call} ({id}) is revoked")),
    }
}

#[cfg(test)]
mod tests {
    use protocol::control::{ApprovalAnswer, ApprovalPolicy};
    use protocol::id::{ApprovalId, Digest, NodeId};
    use protocol::time::UnixSeconds;

    use super::*;

    fn held() -> Approval {
        Approval {
            id: ApprovalId::from_bytes([0x1a; 16]),
            state: ApprovalState::Pending,
            waiting: true,
            holder: "tool-host".to_owned(),
            node: "agent-host".to_owned(),
            node_id: NodeId::from_bytes([1; 32]),
            agent: "bot".parse().unwrap(),
            human: None,
            server: "shop".parse().unwrap(),
            method: "tools/call".to_owned(),
            name: Some("pay\u{1b}[2J".to_owned()),
            arguments: Digest::from_bytes([2; 32]),
            params: "{\"name\":\"pay\u{202e}\"}".to_owned(),
            shortened: true,
            policies: vec![ApprovalPolicy {
                policy: "p".to_owned(),
                by: Some(vec!["group security".to_owned()]),
                approved: false,
            }],
            asked: UnixSeconds(0),
            until: UnixSeconds(0),
            answers: vec![ApprovalAnswer {
                node: "hub".to_owned(),
                node_id: NodeId::from_bytes([3; 32]),
                approves: true,
                at: UnixSeconds(0),
                words: Some("fine\u{1b}".to_owned()),
                human: Some("ada@example.org".to_owned()),
            }],
        }
    }

    #[test]
    fn what_is_shown_is_inert_and_names_what_matters() {
        let mut text = Text::plain();
        show(&held(), &mut text);
        table(&[held()], None, &mut text);
        let shown = text.shown();
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
        for says in [
            "bot on agent-host",
            "group security may approve",
            "ada@example.org of hub approved it",
            "the digest is over all of it",
        ] {
            assert!(shown.contains(says), "{says}: {shown}");
        }
    }

    #[test]
    fn what_is_over_waits_for_nothing() {
        let said = |state, waiting| {
            let mut text = Text::plain();
            let one = Approval {
                state,
                waiting,
                ..held()
            };
            show(&one, &mut text);
            text.shown().to_owned()
        };
        for state in [ApprovalState::Pending, ApprovalState::Approved] {
            assert!(said(state, true).contains("; the caller waits\n"));
            assert!(said(state, false).contains("made again counts, if what is then"));
        }
        for (state, name) in [
            (ApprovalState::Used, "used"),
            (ApprovalState::Denied, "denied"),
            (ApprovalState::TimedOut, "timed out"),
            (ApprovalState::Revoked, "revoked"),
        ] {
            let shown = said(state, false);
            assert!(shown.contains(&format!("state        {name}\n")), "{shown}");
        }
    }

    #[test]
    fn a_reason_that_does_not_fit_is_refused_by_its_option() {
        let answer = |reason: Option<String>| Answer {
            approval: "1a1a1a1a".to_owned(),
            reason,
            node: None,
            human: None,
        };
        let most = "x".repeat(approval::MAX_WORDS_BYTES);
        for good in [None, Some(String::new()), Some(most.clone())] {
            answer(good).check().unwrap();
        }
        for bad in [format!("{most}x"), "two\nlines".to_owned()] {
            let refused = answer(Some(bad)).check().unwrap_err();
            assert_eq!(refused.reason.as_deref(), Some("approval_words"));
            assert!(
                refused.message.contains("`--reason`"),
                "{}",
                refused.message
            );
            assert!(refused.hint.is_some());
        }
    }

    #[test]
    fn a_held_call_is_named_by_its_first_digits() {
        let one = held();
        let other = Approval {
            id: ApprovalId::from_bytes([0x1b; 16]),
            ..held()
        };
        let all = [one, other];
        assert!(chosen(&all, "1a1a1a1a", None).is_ok());
        assert!(chosen(&all, "1a1a", None).is_err());
        assert!(chosen(&all, "ffffffff", None).is_err());
    }

    #[test]
    fn what_is_held_elsewhere_is_pointed_to() {
        let beta: Name = "beta".parse().unwrap();
        let shown = |held: &[Approval], node: Option<&Name>| {
            let mut text = Text::plain();
            table(held, node, &mut text);
            text.shown().to_owned()
        };
        assert!(shown(&[], None).contains("`--node NODE`"));
        assert!(shown(&[], Some(&beta)).contains("at node beta"));
        assert!(shown(&[held()], Some(&beta)).contains("approvals show ID --node beta`"));
        let hint = |node| {
            let failed = chosen(&[], "ffffffff", node).unwrap_err();
            failed.hint.unwrap_or_default().to_string()
        };
        assert!(hint(None).contains("--node NODE"));
        assert!(hint(Some(&beta)).contains("--all --node beta"));
    }
}
