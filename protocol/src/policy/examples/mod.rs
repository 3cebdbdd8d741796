//! Texts that a glob or a pattern matches, and texts that just miss: what policies are tried with.
//!
//! Made from the form alone, always the same, and bounded. Whether a text matches is for the caller to
//! see; that nothing else would is never said.

mod patterns;

use std::collections::BTreeSet;

pub(crate) use patterns::{MAX_EXAMPLES, of_pattern};

/// Most texts made of one glob.
const MAX_OF_GLOB: usize = 32;

/// What is put in the places of stars: two, so that what takes the one away leaves the other. Both may
/// stand anywhere in a name.
const FILLS: [&str; 2] = ["x", "q7"];

/// Texts of a glob: with nothing and with something in the place of every star and of each, and with
/// one character of what stands between them otherwise.
pub(crate) fn of_glob(glob: &str) -> Vec<String> {
    let literals: Vec<&str> = glob.split('*').collect();
    let fill = |of: &dyn Fn(usize) -> &'static str, literals: &[&str]| -> String {
        let parts = literals.iter().enumerate();
        let parts = parts.map(|(at, part)| [if at == 0 { "" } else { of(at) }, part].concat());
        parts.collect()
    };
    let mut out = vec![fill(&|_| "", &literals)];
    if literals.len() > 1 {
        out.extend(FILLS.map(|text| fill(&|_| text, &literals)));
        for star in 1..literals.len() {
            out.push(fill(&|at| if at == star { "x" } else { "" }, &literals));
        }
    }
    if let Some(plain) = out.first().cloned() {
        out.extend([format!("x{plain}"), format!("{plain}x")]);
    }
    for (place, literal) in literals.iter().enumerate() {
        for near in otherwise(literal) {
            let mut changed = literals.clone();
            if let Some(at) = changed.get_mut(place) {
                *at = &near;
            }
            out.push(fill(&|_| "", &changed));
        }
    }
    once(out, MAX_OF_GLOB)
}

/// A text with its first or last character left out or another.
fn otherwise(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let (Some((first, rest)), Some((last, front))) = (chars.split_first(), chars.split_last())
    else {
        return Vec::new();
    };
    let (rest, front): (String, String) = (rest.iter().collect(), front.iter().collect());
    vec![
        format!("{}{rest}", other(*first)),
        format!("{front}{}", other(*last)),
        rest,
        front,
    ]
}

/// Another character of the same kind.
const fn other(c: char) -> char {
    match c {
        'x' => 'y',
        'X' => 'Y',
        '0' => '1',
        _ if c.is_ascii_digit() => '0',
        _ if c.is_ascii_uppercase() => 'X',
        _ => 'x',
    }
}

/// The first so many, each once, in their order.
fn once(texts: Vec<String>, most: usize) -> Vec<String> {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut out = texts;
    out.retain(|text| seen.insert(text.clone()));
    out.truncate(most);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_star_is_filled_and_every_literal_missed() {
        assert_eq!(
            of_glob("ab*"),
            ["ab", "abx", "abq7", "xab", "xb", "ax", "b", "a"]
        );
        let found = of_glob("*a*");
        for text in ["a", "xax", "q7aq7", "xa", "ax", "x", ""] {
            assert!(found.iter().any(|t| t == text), "{text}: {found:?}");
        }
        assert_eq!(of_glob("*"), ["", "x", "q7"]);
        assert!(of_glob(&"ab*".repeat(8)).len() <= MAX_OF_GLOB);
    }
}
