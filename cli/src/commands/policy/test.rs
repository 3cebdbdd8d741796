//! `hedgerow policy test`: the tests that documents carry, run. Needs no node.

use std::path::PathBuf;

use protocol::policy::testing::{self, Outcome};
use protocol::policy::{CompiledBundle, Verdict};
use serde::Serialize;

use super::{files, sets};
use crate::commands::Context;
use crate::exit::{Exit, Failed};
use crate::output::{Text, counted};

/// Run the tests that documents carry, on all of them together; needs no node.
///
/// What counts is what all the documents say together, as in a bundle of just these. A test says
/// itself whether its tool is an approved one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example of a test in a document:
  \"tests\": [{\"name\": \"prices are not changed\",
             \"call\": {\"agent\": \"claude\", \"server\": \"shop\", \"tool\": \"update_price\"},
             \"expect\": \"deny\"}]

  hedgerow policy test policies/*.json")]
pub(super) struct Test {
    /// The documents; `-` is stdin; a file ending in `.cedar` is raw Cedar, named by its file; a
    /// directory means all of its documents
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Ran {
    tests: usize,
    failed: usize,
    outcomes: Vec<Tested>,
}

#[derive(Serialize)]
struct Tested {
    policy: String,
    test: String,
    passed: bool,
    expected: &'static str,
    /// The document that was to decide, where the test names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_by: Option<String>,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl Test {
    pub(super) fn run(self, context: &Context) -> Result<(), Failed> {
        let loaded = files::load(&sets::documents(&self.files)?)?;
        let compiled = loaded.into_iter().map(|document| document.compiled);
        let bundle = CompiledBundle::of(0, compiled.collect(), &[], &[]);
        let outcomes: Vec<Tested> = testing::run(&bundle).iter().map(tested).collect();
        if outcomes.is_empty() {
            return Err(Failed::input("there is no test in these documents")
                .with_reason("no_policy_tests")
                .with_hint("see `hedgerow policy test --help` for one"));
        }
        let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
        let ran = Ran {
            tests: outcomes.len(),
            failed,
            outcomes,
        };
        context.output.data(&ran, |text| show(&ran, text))?;
        if failed > 0 {
            return Err(Failed::silent(Exit::Failure));
        }
        Ok(())
    }
}

fn tested(outcome: &Outcome) -> Tested {
    let denial = outcome.decision.verdict.denial();
    let granted = outcome.decision.granted_by.first();
    Tested {
        policy: outcome.policy.clone(),
        test: outcome.name.clone(),
        passed: outcome.passed,
        expected: outcome.expected,
        expected_by: outcome.by.clone(),
        verdict: outcome.decision.verdict.name(),
        by: match &outcome.decision.verdict {
            Verdict::Allow(_) => granted.cloned(),
            _ => denial.and_then(|d| d.policy.clone()),
        },
        reason: denial.map(|d| d.reason.clone()),
        message: denial.map(|d| d.message.clone()),
    }
}

fn show(ran: &Ran, text: &mut Text) {
    for outcome in &ran.outcomes {
        let Tested {
            policy,
            test,
            verdict,
            ..
        } = outcome;
        if outcome.passed {
            text.check(true, format!("{policy}: {test}: {verdict}"));
            continue;
        }
        text.check(false, failed(outcome));
        if let Some(message) = &outcome.message {
            text.line(format!("      {message}"));
        }
    }
    text.line(format!(
        "{}, {} failed",
        counted(ran.tests, "test", "tests"),
        ran.failed
    ));
}

/// What a test that failed wanted and got, in a line.
pub(super) fn failure(outcome: &Outcome) -> String {
    failed(&tested(outcome))
}

fn failed(outcome: &Tested) -> String {
    format!(
        "{}: {}: expected {}, got {}",
        outcome.policy,
        outcome.test,
        expected(outcome),
        got(outcome)
    )
}

/// What a test wants: a verdict, and by which document where it says so.
fn expected(outcome: &Tested) -> String {
    by(outcome.expected, outcome.expected_by.as_deref())
}

/// What came of it.
fn got(outcome: &Tested) -> String {
    by(outcome.verdict, outcome.by.as_deref())
}

fn by(verdict: &str, document: Option<&str>) -> String {
    match document {
        Some(document) => format!("{verdict} by `{document}`"),
        None => verdict.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_fails_for_who_decided_says_who_was_to() {
        let outcome = Tested {
            policy: "p".to_owned(),
            test: "t".to_owned(),
            passed: false,
            expected: "deny",
            expected_by: Some("other".to_owned()),
            verdict: "deny",
            by: Some("p".to_owned()),
            reason: None,
            message: None,
        };
        let mut text = Text::plain();
        let ran = Ran {
            tests: 1,
            failed: 1,
            outcomes: vec![outcome],
        };
        show(&ran, &mut text);
        let shown = text.shown();
        assert!(
            shown.contains("expected deny by `other`, got deny by `p`"),
            "{shown}"
        );
    }
}
