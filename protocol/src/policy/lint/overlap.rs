//! How globs relate: whether one matches all that another does, and whether any text is matched by
//! both.

use crate::policy::document::Scope;
use crate::policy::glob::{Glob, ItemGlob, NodeGlob};

/// Whether `wide` surely matches everything `narrow` does. `narrow`'s own text is matched, in which
/// a star is a character that only a star can take.
pub(super) fn covers(wide: &Glob, narrow: &Glob) -> bool {
    wide.matches(narrow.as_str())
}

fn covers_part(wide: Option<&Glob>, narrow: Option<&Glob>) -> bool {
    match (wide, narrow) {
        (None, _) => true,
        (Some(wide), None) => wide.is_all(),
        (Some(wide), Some(narrow)) => covers(wide, narrow),
    }
}

/// Whether `wide` matches every item `narrow` does, by name.
pub(super) fn covers_item(wide: &ItemGlob, narrow: &ItemGlob) -> bool {
    covers_part(wide.node.as_ref(), narrow.node.as_ref())
        && covers_part(wide.server.as_ref(), narrow.server.as_ref())
        && covers(&wide.item, &narrow.item)
}

/// Whether `wide` matches everything `narrow` does.
pub(super) fn covers_name(wide: &NodeGlob, narrow: &NodeGlob) -> bool {
    covers_part(wide.node.as_ref(), narrow.node.as_ref()) && covers(&wide.name, &narrow.name)
}

/// Whether some text is matched by both.
pub(super) fn meet(a: &Glob, b: &Glob) -> bool {
    if a.is_literal() {
        return b.matches(a.as_str());
    }
    if b.is_literal() {
        return a.matches(b.as_str());
    }
    // Both have stars, so what is between stars can always be put one after the other: only what
    // stands before the first and after the last must agree.
    let ends = |glob: &Glob| {
        let text = glob.as_str();
        let (head, _) = text.split_once('*').unwrap_or((text, ""));
        let (_, tail) = text.rsplit_once('*').unwrap_or(("", text));
        (head.to_owned(), tail.to_owned())
    };
    let ((head, tail), (other_head, other_tail)) = (ends(a), ends(b));
    let heads = head.starts_with(&other_head) || other_head.starts_with(&head);
    heads && (tail.ends_with(&other_tail) || other_tail.ends_with(&tail))
}

fn meet_part(a: Option<&Glob>, b: Option<&Glob>) -> bool {
    a.zip(b).is_none_or(|(a, b)| meet(a, b))
}

/// Whether some server may be in both scopes, as far as servers tell.
pub(super) fn servers_meet(a: &Scope, b: &Scope) -> bool {
    let (Some(a), Some(b)) = (&a.servers, &b.servers) else {
        return true;
    };
    let one = |a: &NodeGlob, b: &NodeGlob| {
        meet_part(a.node.as_ref(), b.node.as_ref()) && meet(&a.name, &b.name)
    };
    a.iter().any(|a| b.iter().any(|b| one(a, b)))
}

/// Whether some item is matched by both.
pub(super) fn meet_item(a: &ItemGlob, b: &ItemGlob) -> bool {
    meet_part(a.node.as_ref(), b.node.as_ref())
        && meet_part(a.server.as_ref(), b.server.as_ref())
        && meet(&a.item, &b.item)
}

/// Whether an item may lie on one of these servers.
pub(super) fn lies_on(item: &ItemGlob, servers: &[NodeGlob]) -> bool {
    servers.iter().any(|server| {
        meet_part(item.node.as_ref(), server.node.as_ref())
            && item.server.as_ref().is_none_or(|s| meet(s, &server.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> Glob {
        Glob::new(text).unwrap()
    }

    #[test]
    fn a_wide_glob_covers_a_narrow_one() {
        for (wide, narrow, expected) in [
            ("*", "a*b", true),
            ("get_*", "get_it", true),
            ("get_*", "get_*_all", true),
            ("get_it", "get_*", false),
            ("*a*", "b*", false),
            ("a*", "a*", true),
        ] {
            assert_eq!(
                covers(&glob(wide), &glob(narrow)),
                expected,
                "{wide} {narrow}"
            );
        }
    }

    #[test]
    fn globs_meet_where_a_text_fits_both() {
        for (a, b, expected) in [
            ("a", "a", true),
            ("a*", "ab", true),
            ("a*", "b*", false),
            ("a*z", "ab*", true),
            ("a*z", "a*y", false),
            ("*a*", "*b*", true),
            ("*", "", true),
        ] {
            let b = if b.is_empty() { "*" } else { b };
            assert_eq!(meet(&glob(a), &glob(b)), expected, "{a} {b}");
            assert_eq!(meet(&glob(b), &glob(a)), expected, "{b} {a}");
        }
    }
}
