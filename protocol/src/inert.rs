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
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if deceives(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// JSON text with the same characters written as `\uXXXX`, which means the same to whoever
/// parses it. In JSON they can stand in strings only, so no structure is touched.
#[must_use]
pub fn inert_json(json: &str) -> String {
    use core::fmt::Write;
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if deceives(c) && !matches!(c, '\n' | '\r' | '\t') {
            let mut units = [0_u16; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Control characters, bidirectional controls, invisible and tag characters, line separators.
fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
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
        assert_eq!(inert("Größe 10 € ✓ 日本"), "Größe 10 € ✓ 日本");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let hostile = "x\u{7f}\u{9b}\u{202e}\u{e0041}\n\u{1b}";
        let json = serde_json::to_string_pretty(&[hostile]).unwrap();
        let shown = inert_json(&json);
        assert!(!shown.chars().any(|c| deceives(c) && c != '\n'), "{shown}");
        let back: Vec<String> = serde_json::from_str(&shown).unwrap();
        assert_eq!(back, [hostile]);
    }
}
