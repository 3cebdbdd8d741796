//! `hedgerow id posture`: what this host says of its own state, and what others say of theirs.

use protocol::control::{NodePosture, PostureInfo, PostureReport, route};
use protocol::id::NodeId;
use protocol::name::Name;

use crate::commands::{Context, runtime, wait_for};
use crate::exit::Failed;
use crate::output::{Text, cut, instant, lasting, or_dash};

/// Columns of a name and of a list of words; longer ones are cut, and stand in full in the JSON.
const NAME_COLUMNS: usize = 15;
const WORDS_COLUMNS: usize = 40;

/// Show what this node measured of its host, when, and what the other nodes say of theirs.
///
/// A node measures its host every minute and tells the others with its record: at once when it
/// claims something else (not more than once a minute), else with the next record. Policies
/// (`device`) decide on what was told; how old that is counts too. All of it is self-asserted.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow id posture
  hedgerow id posture tool-host --format json")]
pub(super) struct PostureCommand {
    /// Of the other nodes only this one, by name or id
    #[arg(value_name = "NODE", value_parser = named)]
    node: Option<String>,
}

/// A name or an id: both are inert in a path.
fn named(text: &str) -> Result<String, String> {
    let known = text.parse::<NodeId>().is_ok() || text.parse::<Name>().is_ok();
    if known {
        Ok(text.to_owned())
    } else {
        Err("neither a node's name nor its id".to_owned())
    }
}

impl PostureCommand {
    pub(super) fn run(self, context: &Context) -> Result<(), Failed> {
        let path = self.node.as_ref().map_or_else(
            || route::POSTURES.to_owned(),
            |node| format!("{}?node={node}", route::POSTURES),
        );
        let client = context.client()?;
        let report: PostureReport = wait_for(&runtime()?, client.read(&path))?;
        context.output.data(&report, |text| show(&report, text))
    }
}

fn show(report: &PostureReport, text: &mut Text) {
    let own = &report.measured;
    text.line(format!("this node, {}", own.word));
    text.field(
        "measured",
        format!("{} ({} ago)", instant(own.measured.0), lasting(own.age_s)),
    );
    let told = match &report.announced {
        None => "nothing yet".to_owned(),
        Some(told) if report.told => format!("as measured {} ago", lasting(told.age_s)),
        Some(told) => format!(
            "something else, measured {} ago; the next record tells",
            lasting(told.age_s)
        ),
    };
    text.field("others told", told);
    text.field("system", system(own));
    text.field("booted", format!("{} ago", lasting(uptime(own))));
    text.field("secure boot", yes(own.secure_boot));
    text.field("disk encryption", yes(own.disk_encryption));
    let hardening = own.hardening.join(", ");
    let hardening = Some(hardening).filter(|words| !words.is_empty());
    text.field("hardening", hardening.unwrap_or_else(|| "none".to_owned()));
    text.field("binary", or_dash(own.binary));
    text.field("digest", own.digest.to_string());
    if report.others.is_empty() {
        return;
    }
    text.heading("What other nodes say of themselves");
    let rows: Vec<Vec<String>> = report.others.iter().map(row).collect();
    let headers = [
        "NODE",
        "ID",
        "OLD",
        "SYSTEM",
        "BOOTED",
        "BOOT",
        "DISK",
        "HARDENING",
    ];
    text.table(&headers, &rows);
    if report.left_out > 0 {
        text.line(format!("{} more; name one to see it", report.left_out));
    }
}

fn row(other: &NodePosture) -> Vec<String> {
    let mut row = vec![cut(other.node.as_str(), NAME_COLUMNS), other.id.short()];
    match &other.posture {
        None => row.extend(["says nothing", "-", "-", "-", "-", "-"].map(str::to_owned)),
        Some(posture) => row.extend([
            lasting(posture.age_s),
            system(posture),
            lasting(uptime(posture)),
            secured(posture.secure_boot, "secure"),
            secured(posture.disk_encryption, "encrypted"),
            cut(&posture.hardening.join(" "), WORDS_COLUMNS),
        ]),
    }
    row
}

/// Since when it runs, by now.
const fn uptime(posture: &PostureInfo) -> u64 {
    posture.uptime_s.saturating_add(posture.age_s)
}

fn system(posture: &PostureInfo) -> String {
    let os = if posture.os.is_empty() {
        "unknown system"
    } else {
        &posture.os
    };
    format!("{os}, kernel {}", posture.kernel)
}

fn secured(claimed: bool, word: &str) -> String {
    if claimed { word } else { "-" }.to_owned()
}

const fn yes(claimed: bool) -> &'static str {
    if claimed { "yes" } else { "not claimed" }
}

#[cfg(test)]
mod tests {
    use protocol::id::Digest;
    use protocol::time::UnixSeconds;

    use super::*;

    fn posture() -> PostureInfo {
        PostureInfo {
            word: "self-asserted".to_owned(),
            measured: UnixSeconds(1_795_348_800),
            age_s: 30,
            os: "debian".to_owned(),
            kernel: "6.1.38".to_owned(),
            secure_boot: true,
            disk_encryption: false,
            uptime_s: 86_400 * 3,
            binary: None,
            hardening: vec!["aslr".to_owned(), "seccomp".to_owned()],
            digest: Digest::from_bytes([7; 32]),
        }
    }

    fn other(name: &str, posture: Option<PostureInfo>) -> NodePosture {
        NodePosture {
            node: name.parse().unwrap(),
            id: NodeId::from_bytes([9; 32]),
            posture,
        }
    }

    #[test]
    fn a_report_says_whose_word_it_is_and_how_old() {
        let old = PostureInfo {
            age_s: 1500,
            ..posture()
        };
        let mut report = PostureReport {
            measured: posture(),
            announced: Some(old.clone()),
            told: true,
            others: vec![other("silent", None), other("talks", Some(old))],
            left_out: 3,
        };
        let shown = |report: &PostureReport| {
            let mut text = Text::plain();
            show(report, &mut text);
            text.shown().to_owned()
        };
        let text = shown(&report);
        for said in [
            "this node, self-asserted\n",
            "2026-11-22 12:00:00Z (30 s ago)",
            "as measured 25 min ago",
            "debian, kernel 6.1.38",
            "not claimed",
            "aslr, seccomp",
            "says nothing",
            "3 more; name one to see it",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
        report.told = false;
        assert!(shown(&report).contains("something else, measured 25 min ago"));
        report.announced = None;
        assert!(shown(&report).contains("nothing yet"));
    }

    #[test]
    fn only_names_and_ids_stand_in_the_question() {
        assert!(named("tool-host").is_ok());
        assert!(named(&NodeId::from_bytes([1; 32]).to_string()).is_ok());
        for bad in ["", "a b", "../x", "a&b=c", "A?"] {
            assert!(named(bad).is_err(), "{bad}");
        }
    }
}
