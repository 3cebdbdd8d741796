//! The tests of documents, run over the policies that will be in force, before these are signed.
//!
//! They are judged as `hedgerow policy test` judges all these documents together: approved
//! definitions and labels of the bundle count for nothing, a test says itself what is so.

use std::collections::BTreeSet;

use protocol::policy::CompiledBundle;
use protocol::policy::testing::{self, Outcome};
use protocol::trust::bundle::BundleBody;

use super::{files, sets, test};
use crate::exit::{Exit, Failed, Problem, say};
use crate::output::counted;

/// The reason where a test of a document that is put in force fails.
const REASON: &str = "policy_test_failed";

/// Runs the tests of the documents given. Of the others it is only warned where a test that passes
/// now will fail: a document that takes back what another permits is not refused for it.
///
/// # Errors
/// Every test of the documents given that fails.
pub(super) fn run(
    version: u64,
    before: &BundleBody,
    after: &BundleBody,
    given: &[files::Loaded],
) -> Result<(), Failed> {
    let after = alone(version, after)?;
    let file = |policy: &str| {
        let mut given = given.iter();
        given.find(|loaded| loaded.carried.name.as_str() == policy)
    };
    let (own, others): (Vec<_>, Vec<_>) = testing::run(&after)
        .into_iter()
        .partition(|outcome| file(&outcome.policy).is_some());
    let failed = own.iter().filter(|outcome| !outcome.passed);
    let problems: Vec<Problem> = failed
        .filter_map(|outcome| Some(problem(&after, outcome, file(&outcome.policy)?)))
        .collect();
    if !problems.is_empty() {
        let message = format!(
            "{} of {} of these documents will fail once they are in force; nothing was changed",
            problems.len(),
            counted(own.len(), "test", "tests")
        );
        return Err(Failed::new(Exit::Failure, message)
            .with_reason(REASON)
            .with_hint(
                "mend the documents or their tests (`hedgerow policy test` runs them without a \
                 node), or put them in force as they are with `--no-tests`",
            )
            .with_problems(problems));
    }
    warn(before, &others);
    Ok(())
}

/// The documents of a body, without what its approved definitions and labels add.
fn alone(version: u64, body: &BundleBody) -> Result<CompiledBundle, Failed> {
    let policies = BundleBody {
        policies: body.policies.clone(),
        ..BundleBody::default()
    };
    sets::compile(version, &policies)
}

fn problem(bundle: &CompiledBundle, outcome: &Outcome, from: &files::Loaded) -> Problem {
    let document = bundle.policy(&outcome.policy).and_then(|p| p.document());
    let tests = document.map(|document| document.tests.iter());
    let at = tests.and_then(|mut tests| tests.position(|test| test.name == outcome.name));
    Problem {
        file: from.path.display().to_string(),
        path: at.map_or_else(String::new, |at| format!("/tests/{at}")),
        reason: REASON.to_owned(),
        message: test::failure(outcome),
        mend: "change what the documents say of this call, or what the test expects; all that is \
               in force counts"
            .to_owned(),
    }
}

/// Says which tests of documents in force will fail that pass now.
fn warn(before: &BundleBody, others: &[Outcome]) {
    let failing = || others.iter().filter(|outcome| !outcome.passed);
    if failing().next().is_none() {
        return;
    }
    // What is in force and cannot be compiled has no test that passes.
    let before = alone(0, before).map(|bundle| testing::run(&bundle));
    let before = before.unwrap_or_default();
    let passing: BTreeSet<_> = before
        .iter()
        .filter(|outcome| outcome.passed)
        .map(|outcome| (&outcome.policy, &outcome.name))
        .collect();
    for outcome in failing().filter(|o| passing.contains(&(&o.policy, &o.name))) {
        let failure = test::failure(outcome);
        say(&crate::inert::inert(&format!(
            "warning: a test that passes now will fail: {failure}"
        )));
    }
}
