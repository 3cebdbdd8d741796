//! The tests of documents, run before these are signed.
//!
//! They are judged as `hedgerow policy test` judges the same documents: approved definitions and labels
//! of the bundle count for nothing, a test says itself what is so.

use std::collections::BTreeSet;

use protocol::policy::CompiledBundle;
use protocol::policy::testing::{self, Outcome};
use protocol::trust::bundle::BundleBody;

use super::{files, sets, test};
use crate::exit::{Exit, Failed, Problem, say};
use crate::output::counted;

/// The reason where a test of a document that is put in force fails.
const REASON: &str = "policy_test_failed";

/// Most warnings that are told one by one; a set of documents may carry thousands of tests.
const MAX_WARNINGS: usize = 10;

/// Runs the tests of the documents given, over these alone: a test says what its document does, and
/// not what else is in force where it is applied. Of tests that will not hold beside all that will be
/// in force, it is only warned: who takes back what another document permits means it.
///
/// # Errors
/// Every test of the documents given that fails.
pub(super) fn run(
    version: u64,
    before: &BundleBody,
    after: &BundleBody,
    given: &[files::Loaded],
) -> Result<(), Failed> {
    let mut own = BundleBody::default();
    for loaded in given {
        sets::put(&mut own, loaded.carried.clone());
    }
    let own = alone(version, &own)?;
    let outcomes = testing::run(&own);
    let file = |policy: &str| {
        let mut given = given.iter();
        given.find(|loaded| loaded.carried.name.as_str() == policy)
    };
    let failed = outcomes.iter().filter(|outcome| !outcome.passed);
    let problems: Vec<Problem> = failed
        .filter_map(|outcome| Some(problem(&own, outcome, file(&outcome.policy)?)))
        .collect();
    if !problems.is_empty() {
        let message = format!(
            "{} of {} of these documents {}; nothing was changed",
            problems.len(),
            counted(outcomes.len(), "test", "tests"),
            if problems.len() == 1 { "fails" } else { "fail" },
        );
        return Err(Failed::new(Exit::Failure, message)
            .with_reason(REASON)
            .with_hint(
                "mend the documents or their tests (`hedgerow policy test` runs them without a \
                 node), or put them in force as they are with `--no-tests`",
            )
            .with_problems(problems));
    }
    warn(before, &alone(version, after)?, &outcomes);
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
        mend: "change what the documents say of this call, or what the test expects".to_owned(),
    }
}

/// Says which tests that pass now, `own` alone or the others as they are in force, will not hold
/// beside all that will be.
fn warn(before: &BundleBody, after: &CompiledBundle, own: &[Outcome]) {
    let failing: Vec<Outcome> = testing::run(after)
        .into_iter()
        .filter(|outcome| !outcome.passed)
        .collect();
    if failing.is_empty() {
        return;
    }
    // What is in force and cannot be compiled has no test that passes.
    let before = alone(0, before).map(|bundle| testing::run(&bundle));
    let before = before.unwrap_or_default();
    let given: BTreeSet<_> = own.iter().map(|outcome| &outcome.policy).collect();
    let before = before.iter().filter(|o| !given.contains(&o.policy));
    let passing: BTreeSet<_> = before
        .chain(own)
        .filter(|outcome| outcome.passed)
        .map(|outcome| (&outcome.policy, &outcome.name))
        .collect();
    let told: Vec<&Outcome> = failing
        .iter()
        .filter(|o| passing.contains(&(&o.policy, &o.name)))
        .collect();
    for outcome in told.iter().take(MAX_WARNINGS) {
        let failure = test::failure(outcome);
        say(&crate::inert::inert(&format!(
            "warning: beside all that will be in force a test does not hold: {failure}"
        )));
    }
    if let Some(more) = told
        .len()
        .checked_sub(MAX_WARNINGS)
        .filter(|more| *more > 0)
    {
        say(&format!(
            "warning: nor do {}",
            counted(more, "other", "others")
        ));
    }
}
