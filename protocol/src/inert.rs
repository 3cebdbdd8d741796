//! Text that others chose, made harmless for a terminal and for a page.
//!
//! Names of peers, descriptions of tools, results and error messages come from elsewhere. A
//! terminal must neither execute what is in them (escape sequences, C1 controls) nor show them in
//! another order or shape than they have (bidirectional overrides, invisible characters). Nor may
//! a browser; what is HTML in them is escaped where the page is made.

/// `text` with everything that would not just be shown replaced by `\u{…}`. Line breaks are
/// replaced too: a line of output stays one line.
#[must_use]
pub fn inert(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = None;
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if deceives(c, before) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
        before = Some(c);
    }
    out
}

/// JSON text with the same characters written as `\uXXXX`, which means the same to whoever
/// parses it. In JSON they can stand in strings only, so no structure is touched.
#[must_use]
pub fn inert_json(json: &str) -> String {
    use core::fmt::Write;
    let mut out = String::with_capacity(json.len());
    let mut before = None;
    for c in json.chars() {
        if deceives(c, before) && !matches!(c, '\n' | '\r' | '\t') {
            let mut units = [0_u16; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
        before = Some(c);
    }
    out
}

/// Control characters, bidirectional controls, line separators, and what shows nothing (Unicode's
/// `Default_Ignorable_Code_Point`, and letters and patterns that are blank): names that look alike by
/// them are not.
///
/// The selector that has a symbol shown as an emoji stays where it follows a symbol.
fn deceives(c: char, before: Option<char>) -> bool {
    if c == EMOJI {
        return !before.is_some_and(is_symbol);
    }
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}'
            | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Variation selector 16.
const EMOJI: char = '\u{fe0f}';

/// Arrows, signs, dingbats and pictographs, but for the blank pattern of Braille.
const fn is_symbol(c: char) -> bool {
    matches!(c, '\u{2190}'..='\u{27ff}' | '\u{2900}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_become_visible() {
        assert_eq!(
            inert("a\u{1b}[31mb\u{9b}c\u{202e}d\u{e0041}"),
            "a\\u{1b}[31mb\\u{9b}c\\u{202e}d\\u{e0041}"
        );
        assert_eq!(inert("one\ntwo\r\t"), "one\\ntwo\\r\\t");
        assert_eq!(
            inert("Größe 10 € ✓ 日本 ⚠\u{fe0f}"),
            "Größe 10 € ✓ 日本 ⚠\u{fe0f}"
        );
    }

    #[test]
    fn names_that_differ_by_what_shows_nothing_look_different() {
        let nothing = "\u{34f}\u{115f}\u{1160}\u{17b4}\u{180b}\u{2800}\u{3164}\u{fe00}\u{fe0f}\u{ffa0}\u{1d173}\u{e0100}\u{e01ef}";
        for c in nothing.chars() {
            assert_eq!(
                inert(&format!("check{c}")),
                format!("check{}", c.escape_unicode())
            );
            let json = inert_json(&format!("\"check{c}\""));
            assert!(json.starts_with("\"check\\u"), "{json}");
        }
    }

    #[test]
    fn json_keeps_its_meaning() {
        let hostile = "x\u{7f}\u{9b}\u{202e}\u{e0041}\n\u{1b}";
        let json = serde_json::to_string_pretty(&[hostile]).unwrap();
        let shown = inert_json(&json);
        assert!(
            !shown.chars().any(|c| deceives(c, None) && c != '\n'),
            "{shown}"
        );
        let back: Vec<String> = serde_json::from_str(&shown).unwrap();
        assert_eq!(back, [hostile]);
    }
}
