//! Names as somebody else chose them, of which only so much is shown.

use maud::{Markup, html};
use protocol::inert::inert;

use crate::page::limits::MAX_NAME_SHOWN;

/// A name, cut where it is longer than [`MAX_NAME_SHOWN`] characters once inert: the whole is its
/// title, and on the page of what it is about.
pub(super) fn name(text: &str) -> Markup {
    let whole = inert(text);
    if whole.chars().count() <= MAX_NAME_SHOWN {
        return html! { (whole) };
    }
    let kept: String = whole.chars().take(MAX_NAME_SHOWN - 1).collect();
    html! { span title=(whole) { (kept) "…" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_and_whole_in_its_title() {
        let fits = "é".repeat(MAX_NAME_SHOWN);
        assert_eq!(name(&fits).into_string(), fits);
        let long = format!("{fits}e");
        let kept = "é".repeat(MAX_NAME_SHOWN - 1);
        assert_eq!(
            name(&long).into_string(),
            format!("<span title=\"{long}\">{kept}…</span>")
        );
    }

    /// What makes it inert makes it longer: that is what is measured.
    #[test]
    fn a_hostile_name_is_cut_and_inert() {
        let hostile = "\u{202e}\"><script>".repeat(40);
        let shown = name(&hostile).into_string();
        assert!(
            !shown.contains(['\u{202e}']) && !shown.contains("<script"),
            "{shown}"
        );
        assert!(!shown.contains("\"><s"), "{shown}");
        assert_eq!(inert(&shown), shown);
        let (_, text) = shown.split_once("\">").unwrap();
        let visible = text
            .replace("&quot;", "\"")
            .replace("&gt;", ">")
            .replace("&lt;", "<");
        assert_eq!(
            visible.trim_end_matches("</span>").chars().count(),
            MAX_NAME_SHOWN
        );
    }

    #[test]
    fn lists_and_rows_cut_what_others_named() {
        let long = "n".repeat(5 * MAX_NAME_SHOWN);
        let is_cut = |shown: String| {
            let title = format!("title=\"{long}\"");
            assert!(shown.contains(&title), "{shown}");
            assert!(!shown.contains(&format!(">{long}")), "{shown}");
        };
        let server = crate::page::ToolServer {
            node: "hub".parse().unwrap(),
            server: "shop".parse().unwrap(),
            here: true,
            reachable: true,
            tools: vec![long.clone()],
            total: 1,
        };
        is_cut(super::super::tools(&[server]).into_string());
        let decision = protocol::control::Decision {
            name: Some(long.clone()),
            ..Default::default()
        };
        is_cut(super::super::rows(core::iter::once(&decision)).into_string());
        // The page of the decision itself has it whole.
        let page = super::super::decision(&decision).into_string();
        assert!(page.contains(&format!("<dd>{long}</dd>")), "{page}");
    }
}
