//! Finding the keys a configuration file should not have, and the ones it probably meant.
//!
//! The keys there are come from the defaults themselves, so they cannot go stale.

use toml::{Table, Value};

use super::sections::Sections;

/// Longest key compared for similarity; a longer one is like nothing we have.
const MAX_COMPARED: usize = 64;

/// The first key that does not exist, with its section, and the most similar one that does.
pub(super) fn first(found: &Table) -> Option<(String, Option<String>)> {
    let known = Table::try_from(Sections::default()).unwrap_or_default();
    for (section, value) in found {
        let Some(keys) = known.get(section).and_then(Value::as_table) else {
            return Some((section.clone(), closest_section(section, &known)));
        };
        let names = value.as_table().into_iter().flat_map(Table::keys);
        for name in names {
            if !keys.contains_key(name) {
                let close = closest_key(section, name, &known);
                return Some((format!("{section}.{name}"), close));
            }
        }
    }
    None
}

/// For what stands where a section should: a section, or a key that has lost its section.
fn closest_section(name: &str, known: &Table) -> Option<String> {
    let sections = known.keys().map(|s| (s.clone(), s.as_str()));
    let section = nearest(name, sections);
    section.or_else(|| closest_key("", name, known))
}

/// The most similar key, of this section first.
fn closest_key(section: &str, name: &str, known: &Table) -> Option<String> {
    let all = || {
        known.iter().flat_map(|(s, v)| {
            let keys = v.as_table().into_iter().flat_map(Table::keys);
            keys.map(move |k| (s, k.as_str()))
        })
    };
    let same = all().filter(|(s, _)| *s == section);
    let qualified = |(s, k): (&String, &'_ str)| format!("{s}.{k}");
    nearest(name, same.map(|e| (qualified(e), e.1)))
        .or_else(|| nearest(name, all().map(|e| (qualified(e), e.1))))
}

/// The candidate least far from `name`, if it is near enough to have been meant.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = (String, &'a str)>) -> Option<String> {
    if name.len() > MAX_COMPARED {
        return None;
    }
    let bound = name.chars().count().div_ceil(3).max(1);
    candidates
        .map(|(shown, key)| (distance(name, key), shown))
        .filter(|(d, _)| *d <= bound)
        .min_by_key(|(d, _)| *d)
        .map(|(_, shown)| shown)
}

/// Levenshtein's distance: insertions, removals and replacements of one character.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut last = i.saturating_add(1);
        let mut next = vec![last];
        for (right, above) in b.chars().zip(row.iter().skip(1)) {
            let replaced = diagonal.saturating_add(usize::from(left != right));
            last = replaced
                .min(above.saturating_add(1))
                .min(last.saturating_add(1));
            diagonal = *above;
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// The line, from 1, on which a key stands; 0 when it is written in some other way.
pub(super) fn line_of(text: &str, key: &str) -> usize {
    let (section, name) = key.split_once('.').unwrap_or(("", key));
    let mut current = String::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            current = header.trim_end_matches(']').trim().to_owned();
            if section.is_empty() && current == name {
                return number;
            }
        }
        let left = line.split('=').next().unwrap_or_default().trim();
        if (current == section && left.trim_matches('"') == name) || left == key {
            return number;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, d) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("listen", "listen", 0),
            ("lisen", "listen", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), d, "{a} {b}");
            assert_eq!(distance(b, a), d, "{b} {a}");
        }
    }
}
