//! The bundle in force, and its policy documents as their authors wrote them.

use maud::{Markup, html};

use super::name::name;
use super::{aside, counted, escaped, more};
use crate::page::limits::MAX_LISTED;
use crate::page::{BundleView, PolicyText};

/// The bundle in force.
pub(in crate::page) fn policy(bundle: Option<&BundleView>) -> Markup {
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    html! {
        @match bundle {
            None => { p.none { "No bundle is in force." } }
            Some(bundle) => {
                dl.facts {
                    dt { "Version" } dd { (bundle.version) }
                    dt { "Hash" } dd { code { (bundle.hash) } }
                    dt { "Approves" }
                    dd { (counted(count(bundle.pins), "tool definition", "tool definitions")) }
                }
                @if bundle.policies.is_empty() {
                    p.none { "It has no policies." }
                } @else {
                    ul.policies {
                        @for policy in bundle.policies.iter().take(MAX_LISTED) {
                            li {
                                a href={ "policies/" (escaped(&policy.name)) } { (name(&policy.name)) }
                                " " span.of { (counted(count(policy.length), "byte", "bytes")) }
                            }
                        }
                    }
                    (more(MAX_LISTED, bundle.policies.len(), "policies"))
                }
            }
        }
    }
}

/// One policy document, not looked into: its lines as they are.
pub(in crate::page) fn policy_document(policy: &PolicyText) -> Markup {
    let inside = html! {
        p { (policy.media_type) ", " (policy.length) " bytes" }
        div.scroll tabindex="0" role="region" aria-label="Policy document" {
            ol.lines { @for line in policy.text.lines() { li { code { (line) } } } }
        }
        @if policy.text.len() < policy.length {
            p.more { "… " code { "hedgerow policy show" } " prints it whole" }
        }
    };
    aside(&format!("Policy {}", policy.name), &inside)
}
