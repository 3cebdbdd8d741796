//! A human is asserted: whatever documents say, being one whom nobody vouches for permits nothing.

use proptest::prelude::*;
use protocol::policy::{CompiledBundle, Decision, Verdict};

use crate::property::{call, compiled, documents};
use crate::world::Call;

const ADA: &str = "ada@example.org";

/// Documents of which every second is about a human too.
fn about_humans() -> impl Strategy<Value = Vec<(String, String)>> {
    documents().prop_map(|all| {
        let some = all.into_iter().enumerate().map(|(n, (name, text))| {
            let with = |text: &str| match text.split_once("\"subjects\": {") {
                Some((head, tail)) => {
                    format!("{head}\"subjects\": {{\"humans\": [\"ada@*\"], {tail}")
                }
                None => text.replacen('{', "{\"subjects\": {\"humans\": [\"ada@*\"]}, ", 1),
            };
            let text = if n % 2 == 0 { with(&text) } else { text };
            (name, text)
        });
        some.collect()
    })
}

fn for_ada(call: &Call, vouched: bool) -> Call {
    Call {
        human: Some(ADA.to_owned()),
        human_vouched: vouched,
        ..call.clone()
    }
}

fn allows(decision: &Decision) -> bool {
    matches!(decision.verdict, Verdict::Allow(_))
}

fn unsliced(call: &Call, bundle: &CompiledBundle) -> Decision {
    call.facts(|facts| bundle.evaluate_unsliced(facts))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_human_nobody_vouches_for_only_tightens(
        documents in about_humans(),
        calls in proptest::collection::vec(call(), 1..6),
    ) {
        let bundle = compiled(&documents);
        for call in calls {
            let (without, asserted) = (call.decide(&bundle), for_ada(&call, false));
            let asserted = asserted.decide(&bundle);
            prop_assert!(allows(&without) || !allows(&asserted), "{:?}", asserted);
            prop_assert_eq!(&without.granted_by, &asserted.granted_by);
            // What restricts does so whoever vouches.
            let vouched = for_ada(&call, true).decide(&bundle);
            prop_assert_eq!(&asserted.violations, &vouched.violations);
            prop_assert!(allows(&vouched) || !allows(&asserted));
        }
    }

    /// A slice holds what documents on humans say.
    #[test]
    fn sliced_is_full_for_humans(
        documents in about_humans(),
        calls in proptest::collection::vec(call(), 1..6),
        vouched in any::<bool>(),
    ) {
        let bundle = compiled(&documents);
        for call in calls {
            let call = for_ada(&call, vouched);
            prop_assert_eq!(call.decide(&bundle), unsliced(&call, &bundle));
        }
    }
}
