//! Whether a bundle goes by the URIs of resources.

use super::{CompiledPolicy, CompiledRule, Source};
use crate::policy::context::Needs;
use crate::policy::document::{Document, Mode};
use crate::policy::glob::Glob;
use crate::policy::uri::Reserved;

/// What documents and labels name in URIs; `None` if nothing that counts goes by them.
pub(super) fn named<'a>(
    policies: &[CompiledPolicy],
    mut labelled: impl Iterator<Item = &'a String>,
) -> Option<Reserved> {
    let documents = policies.iter().filter_map(|policy| match policy.source() {
        Source::Document(document) => by_document(document),
        Source::Cedar => by_cedar(policy.compiled_rules()),
    });
    // Of a label nobody knows whether its target is a tool, prompt or resource: a URI has a colon.
    let labelled = labelled.any(|target| target.contains(':'));
    let labelled = labelled.then_some(Reserved::ALL);
    documents.chain(labelled).reduce(Reserved::and)
}

/// A glob that matches everything goes by nothing; nor does a document that only observes.
fn by_document(document: &Document) -> Option<Reserved> {
    if document.mode == Mode::Observe {
        return None;
    }
    let lists = [&document.scope.resources, &document.requirements.resources];
    let globs = lists.into_iter().flatten().flatten();
    let telling = globs.filter(|glob| !Glob::is_all(glob));
    telling.map(Reserved::of).reduce(Reserved::and)
}

/// Raw Cedar that can look at the name of what is called, in the context or as an entity.
fn by_cedar(rules: &[CompiledRule]) -> Option<Reserved> {
    let looks = |rule: &&CompiledRule| {
        let cedar = &rule.rule.cedar;
        rule.mode == Mode::Enforce
            && (cedar.contains("Target") || Needs::of_raw(cedar).names("target"))
    };
    rules
        .iter()
        .any(|rule| looks(&rule))
        .then_some(Reserved::ALL)
}
