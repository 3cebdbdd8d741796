//! Texts for patterns, made from what the pattern is parsed to.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind, Repetition};

use super::{once, other};
use crate::policy::pattern::MAX_NESTING;

/// Most texts made for one pattern to match, and for each part of it.
pub(crate) const MAX_EXAMPLES: usize = 16;

/// Longest text made, in characters.
const MAX_CHARS: usize = 64;

/// Most texts made that are one character away from those.
const MAX_NEAR: usize = 16;

/// Most characters of a class that are tried.
const MAX_OF_CLASS: usize = 10;

/// Characters tried first where a class has them: of several kinds and scripts, none special in a
/// pattern.
const USUAL: [char; 12] = ['x', 'a', 'A', '0', '7', '_', '-', ' ', '/', 'é', 'Ж', '世'];

/// Texts that the pattern may match, from its parts with one of them varied at a time: each
/// alternative, characters at the bounds of classes, repetitions at and beyond their bounds. Then
/// texts that are one character away. None where nothing so short would match.
pub(crate) fn of_pattern(pattern: &str) -> Vec<String> {
    let mut parser = ParserBuilder::new().nest_limit(MAX_NESTING).build();
    let Ok(parsed) = parser.parse(pattern) else {
        return Vec::new();
    };
    let mut texts = of(&parsed);
    let near = texts.iter().take(2).flat_map(|text| near(text)).collect();
    texts.extend(once(near, MAX_NEAR));
    once(texts, MAX_EXAMPLES + MAX_NEAR)
}

/// Texts of a part; its depth is bounded by the parser.
fn of(part: &Hir) -> Vec<String> {
    let texts = match part.kind() {
        // Whether it holds where it stands is seen on the whole text.
        HirKind::Empty | HirKind::Look(_) => vec![String::new()],
        HirKind::Literal(literal) => {
            let text = core::str::from_utf8(&literal.0);
            text.map(str::to_owned).into_iter().collect()
        }
        HirKind::Class(class) => of_class(class),
        HirKind::Repetition(repetition) => repeated(repetition),
        HirKind::Capture(capture) => of(&capture.sub),
        HirKind::Concat(parts) => in_turn(parts),
        HirKind::Alternation(parts) => {
            let parts: Vec<Vec<String>> = parts.iter().map(of).collect();
            by_rounds(&parts)
        }
    };
    let short = texts.into_iter().filter(|t| t.chars().count() <= MAX_CHARS);
    once(short.collect(), MAX_EXAMPLES)
}

fn of_class(class: &Class) -> Vec<String> {
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => class.iter().map(|r| (r.start(), r.end())).collect(),
        Class::Bytes(class) => {
            let ranges = class.iter().filter(|r| r.end().is_ascii());
            ranges
                .map(|r| (char::from(r.start()), char::from(r.end())))
                .collect()
        }
    };
    let holds = |c: char| ranges.iter().any(|(from, to)| (*from..=*to).contains(&c));
    let usual = USUAL.into_iter().filter(|c| holds(*c));
    let bounds = ranges.iter().flat_map(|(from, to)| [*from, *to]);
    let bounds = bounds.filter(|c| !c.is_control());
    // The bounds of a small class before what is usual of it, but for the first.
    let first = usual.clone().take(1);
    let all = first
        .chain(bounds.take(MAX_OF_CLASS / 2))
        .chain(usual.skip(1));
    once(all.map(String::from).collect(), MAX_OF_CLASS)
}

/// The part as often as it must be, may be, and once more or less; then with another text in it.
fn repeated(repetition: &Repetition) -> Vec<String> {
    let texts = of(&repetition.sub);
    let (least, most) = (repetition.min, repetition.max);
    let usual = least.max(1).min(most.unwrap_or(u32::MAX));
    let counts = [
        Some(usual),
        Some(least),
        most,
        Some(least.saturating_add(1)),
        Some(usual.saturating_add(1)),
        most.map(|most| most.saturating_sub(1)),
        most.map(|most| most.saturating_add(1)),
        least.checked_sub(1),
    ];
    let within = |count: u32| usize::try_from(count).ok().filter(|c| *c <= MAX_CHARS);
    let (Some(first), Some(usual)) = (texts.first(), within(usual)) else {
        // Left out it may be, if nothing is found for it.
        return if least == 0 {
            vec![String::new()]
        } else {
            Vec::new()
        };
    };
    let counts = counts.into_iter().flatten().filter_map(within);
    let mut out: Vec<String> = counts.map(|count| first.repeat(count)).collect();
    for another in texts.iter().skip(1) {
        if let Some(before) = usual.checked_sub(1) {
            out.push(format!("{}{another}", first.repeat(before)));
        }
    }
    out
}

/// One part after the other, each with its first text but for one, which takes each of its own.
fn in_turn(parts: &[Hir]) -> Vec<String> {
    let parts: Vec<Vec<String>> = parts.iter().map(of).collect();
    let Some(firsts) = parts
        .iter()
        .map(|texts| texts.first())
        .collect::<Option<Vec<_>>>()
    else {
        return Vec::new();
    };
    // The second text of each part, then the third of each.
    let others = (1..MAX_EXAMPLES).flat_map(|n| {
        let parts = parts.iter().enumerate();
        parts.filter_map(move |(place, texts)| Some((place, texts.get(n)?)))
    });
    let whole = |texts: &[&String]| -> String { texts.iter().map(|t| t.as_str()).collect() };
    let mut out = vec![whole(&firsts)];
    out.extend(others.take(MAX_EXAMPLES).map(|(place, text)| {
        let mut with = firsts.clone();
        if let Some(at) = with.get_mut(place) {
            *at = text;
        }
        whole(&with)
    }));
    out
}

/// The first of each list, the second of each, and so on.
fn by_rounds(lists: &[Vec<String>]) -> Vec<String> {
    let rounds = (0..MAX_EXAMPLES).flat_map(|n| lists.iter().filter_map(move |list| list.get(n)));
    rounds.take(MAX_EXAMPLES).cloned().collect()
}

/// A text with one character added, left out or another: at both ends and in the middle.
fn near(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = vec![format!("{text}x"), format!("x{text}")];
    let last = chars.len().saturating_sub(1);
    for place in [0, last, last / 2] {
        let with = |put: Option<char>| -> String {
            let chars = chars.iter().enumerate();
            let chars = chars.filter_map(|(at, c)| if at == place { put } else { Some(*c) });
            chars.collect()
        };
        if let Some(c) = chars.get(place) {
            out.extend([with(None), with(Some(other(*c)))]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::pattern::Pattern;

    #[test]
    fn what_a_pattern_matches_and_just_misses() {
        for pattern in [
            "^q",
            "^ab*$",
            "^a+$|b?",
            "[a-z]+",
            "[A-Z]{2}[0-9]{2,4}",
            "(?i)abc",
            r"^\p{L}+$",
            r"(ab|cd){2}-\d{3}",
            r"[^/]+/[^/]+",
            r"\bsecret\b",
            "(?x) a b",
        ] {
            let compiled = Pattern::new(pattern).unwrap();
            let texts = of_pattern(pattern);
            let matched = texts.iter().filter(|text| compiled.matches(text)).count();
            assert!(matched > 0, "{pattern}: {texts:?}");
            assert!(texts.len() <= MAX_EXAMPLES + MAX_NEAR, "{pattern}");
            assert!(texts.iter().all(|t| t.chars().count() <= MAX_CHARS + 1));
            let whole = Pattern::whole(pattern).unwrap();
            let missed = texts.iter().filter(|text| !whole.matches(text)).count();
            assert!(missed > 0, "{pattern}: {texts:?}");
        }
    }

    #[test]
    fn what_is_too_long_has_no_text() {
        assert!(of_pattern("a{100}").is_empty());
        assert!(of_pattern("[a-z]{65}b").is_empty());
        assert!(of_pattern("[a&&b]").is_empty());
        assert!(of_pattern("(").is_empty());
        assert_eq!(
            of_pattern("(a{100})?").first().map(String::as_str),
            Some("")
        );
    }

    /// Nested repetitions and alternatives cost no more than their size.
    #[test]
    fn work_is_bounded() {
        let nested = (0..8).fold("[a-z0-9é]".to_owned(), |inner, _| {
            format!("({inner}|x{inner}?)+")
        });
        let nested: String = nested.chars().take(1 << 12).collect();
        assert!(of_pattern(&nested).len() <= MAX_EXAMPLES + MAX_NEAR);
        let long = "(?i)abcdefghijklmnop".repeat(3);
        assert!(!of_pattern(&long).is_empty());
    }
}
