//! The curve of a run as a picture: the fraction of nodes for which a revocation is effective,
//! over time. Written by hand, small, readable on light and dark pages.

use std::fmt::Write as _;

use super::report::Report;

const WIDTH: u64 = 760;
const HEIGHT: u64 = 420;
/// The plot inside the picture.
const LEFT: u64 = 64;
const RIGHT: u64 = 728;
const TOP: u64 = 76;
const BOTTOM: u64 = 356;

const STYLE: &str = "\
:root{color-scheme:light dark}\
svg{--page:#fff;--ink:#1c2b22;--soft:#5d6b62;--rule:#e1e7e2;--line:#1f7a4d;--fill:#1f7a4d}\
@media(prefers-color-scheme:dark){svg{--page:#121814;--ink:#e6eee8;--soft:#93a398;--rule:#2a342d;\
--line:#5fce94;--fill:#5fce94}}\
text{font:13px system-ui,sans-serif;fill:var(--soft)}\
.title{font-size:17px;font-weight:600;fill:var(--ink)}\
.mark{fill:var(--ink);font-weight:600;paint-order:stroke;stroke:var(--page);stroke-width:4}\
.rule{stroke:var(--rule)}\
.guide{stroke:var(--soft);stroke-dasharray:3 4}\
.curve{fill:none;stroke:var(--line);stroke-width:2.5;stroke-linejoin:round;stroke-linecap:round}\
.area{fill:var(--fill);opacity:.12}\
.dot{fill:var(--line);stroke:var(--page);stroke-width:2}";

/// The picture of `report`.
pub(crate) fn draw(report: &Report) -> String {
    let mut out = String::new();
    let scale = Scale::up_to(report.curve_ms.last().copied().unwrap_or(0));
    let (title, subtitle) = captions(report);
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\
         <title>{title}: {subtitle}</title><style>{STYLE}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"10\" style=\"fill:var(--page)\"/>\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"32\">{title}</text>\n\
         <text x=\"{LEFT}\" y=\"54\">{subtitle}</text>"
    );
    axes(&mut out, &scale);
    curve(&mut out, &scale, &report.curve_ms);
    marks(&mut out, &scale, report);
    out.push_str("</svg>\n");
    out
}

fn captions(report: &Report) -> (String, String) {
    let title = format!("{}: revocation effective", escaped(&report.scenario));
    let subtitle = format!(
        "{} nodes, seed {}, {} messages and {} kB sent by each, {} violations",
        report.nodes,
        report.seed,
        report.messages_per_node,
        report.bytes_per_node.div_ceil(1000),
        report.invariant_violations
    );
    (title, subtitle)
}

/// The horizontal axis: from 0 to a round number of milliseconds.
struct Scale {
    step: u64,
    end: u64,
}

impl Scale {
    /// An axis that shows `most`, with four to ten steps of 1, 2 or 5 times a power of ten.
    fn up_to(most: u64) -> Self {
        let mut step = 1_u64;
        for factor in [2, 5, 10].iter().cycle() {
            if most <= step.saturating_mul(8) || step > u64::MAX / 20 {
                break;
            }
            step = match factor {
                2 | 10 => step * 2,
                _ => step / 2 * 5,
            };
        }
        let end = (most / step + 1) * step;
        Self { step, end }
    }

    fn x(&self, ms: u64) -> u64 {
        LEFT + ms.saturating_mul(RIGHT - LEFT) / self.end.max(1)
    }
}

/// Where `percent` of a hundred is.
const fn y(percent: u64) -> u64 {
    BOTTOM - percent * (BOTTOM - TOP) / 100
}

fn axes(out: &mut String, scale: &Scale) {
    for percent in [0, 25, 50, 75, 100] {
        let (y, below) = (y(percent), y(percent) + 4);
        let _ = writeln!(
            out,
            "<path class=\"rule\" d=\"M{LEFT} {y}H{RIGHT}\"/>\
             <text x=\"{}\" y=\"{below}\" text-anchor=\"end\">{percent}%</text>",
            LEFT - 10
        );
    }
    let (mut at, label) = (0, BOTTOM + 22);
    while at <= scale.end {
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{label}\" text-anchor=\"middle\">{at}</text>",
            scale.x(at)
        );
        at += scale.step;
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">virtual milliseconds</text>",
        LEFT.midpoint(RIGHT),
        BOTTOM + 46
    );
}

fn curve(out: &mut String, scale: &Scale, ms: &[u64]) {
    let Some((first, last)) = ms.first().zip(ms.last()) else {
        return;
    };
    let mut line = String::new();
    for (percent, ms) in ms.iter().enumerate() {
        let command = if percent == 0 { 'M' } else { 'L' };
        let _ = write!(line, "{command}{} {}", scale.x(*ms), y(percent as u64));
    }
    let (from, to) = (scale.x(*first), scale.x(*last));
    let _ = writeln!(
        out,
        "<path class=\"area\" d=\"{line}L{to} {BOTTOM}L{from} {BOTTOM}Z\"/>\
         <path class=\"curve\" d=\"{line}\"/>"
    );
}

/// The median, the 99th percentile and the last, where they were reached.
fn marks(out: &mut String, scale: &Scale, report: &Report) {
    let effective = &report.effective_ms;
    let marks = [
        ("p50", effective.p50, 50),
        ("p99", effective.p99, 99),
        ("max", effective.max, 100),
    ];
    for (name, ms, percent) in marks {
        let Some(ms) = ms else { continue };
        let (x, y) = (scale.x(ms), y(percent));
        let _ = writeln!(
            out,
            "<path class=\"guide\" d=\"M{x} {y}V{BOTTOM}\"/>\
             <circle class=\"dot\" cx=\"{x}\" cy=\"{y}\" r=\"5\"/>"
        );
        // The last is above the curve, the others below it, where there is room.
        let (x, y, anchor) = match percent {
            100 => (x.min(RIGHT - 30), y - 10, "middle"),
            _ if x > RIGHT - 80 => (x - 10, y + 40, "end"),
            _ => (x + 10, y + 20, "start"),
        };
        let _ = writeln!(
            out,
            "<text class=\"mark\" x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{name} {ms} ms</text>"
        );
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_is_round_and_long_enough() {
        for (most, step, end) in [
            (0, 1, 1),
            (8, 1, 9),
            (9, 2, 10),
            (312, 50, 350),
            (5000, 1000, 6000),
        ] {
            let scale = Scale::up_to(most);
            assert_eq!((scale.step, scale.end), (step, end), "{most}");
            assert!(scale.x(most) <= RIGHT);
        }
    }

    #[test]
    fn names_cannot_break_the_picture() {
        assert_eq!(escaped("a<b>&c"), "a&lt;b&gt;&amp;c");
    }
}
