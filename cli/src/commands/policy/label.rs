//! `hedgerow policy label`: what data lies where.

use protocol::limits::MAX_WORD_BYTES;
use protocol::name::Name;
use protocol::trust::bundle::{BundleBody, Label};

use super::draft::{Draft, Signing};
use crate::commands::Context;
use crate::exit::{Failed, say};

/// Say what data a tool, resource or prompt touches, or all on a server.
///
/// Every call of it has these labels at every hop, and policies decide on them with `labels`. Labels
/// of results, which go with the agent that was handed them, are given by `on_result.tag` of a policy.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow policy label crm/get_customer personal
  hedgerow policy label 'files/records/*' phi audit     # all on the server `records` of node `files`
  hedgerow policy label --remove 'files/records/*' audit
  hedgerow policy label --remove crm/get_customer       # all of its labels")]
pub(super) struct Labels {
    /// What: a tool, resource or prompt, or `*` for all of the server
    #[arg(value_name = "[NODE/]SERVER/TARGET")]
    target: String,
    /// Words of a-z, 0-9, `_`, `-` and `.`
    #[arg(value_name = "LABEL", required_unless_present = "remove")]
    labels: Vec<String>,
    /// Take these labels from it; without any, all
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    signing: Signing,
}

impl Labels {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let place = Place::of(&self.target)?;
        for label in &self.labels {
            word(label)?;
        }
        let mut draft = Draft::begin(context).await?;
        if self.remove {
            remove(&mut draft.body, &self.target, &self.labels)?;
        } else {
            if !draft.tools.iter().any(|t| place.may_hold(t)) {
                say(&format!(
                    "note: no node announces a tool at `{}` now",
                    self.target
                ));
            }
            add(&mut draft.body, &self.target, self.labels);
        }
        draft.publish(context, self.signing).await
    }
}

/// What a target names: `SERVER/TARGET` or `NODE/SERVER/TARGET`, which cannot be told apart where
/// the name of a target holds a slash.
struct Place<'a> {
    first: &'a str,
    rest: &'a str,
}

impl<'a> Place<'a> {
    fn of(target: &'a str) -> Result<Self, Failed> {
        let wrong = |why: &str, hint: String| {
            Failed::input(format!(
                "`{target}` names nothing that can be labelled: {why}"
            ))
            .with_reason("bad_target")
            .with_hint(hint)
        };
        let Some((first, rest)) = target.split_once('/').filter(|(_, rest)| !rest.is_empty())
        else {
            let hint = format!(
                "for all on a server of this name: `{}/*`",
                target.trim_end_matches('/')
            );
            return Err(wrong("no target of a server", hint));
        };
        if let Err(error) = first.parse::<Name>() {
            let hint = "give it as SERVER/TARGET or NODE/SERVER/TARGET".to_owned();
            return Err(wrong(&format!("`{first}`: {error}"), hint));
        }
        if rest != "*" && rest.ends_with("/*") && rest.matches('/').count() > 1 {
            let hint = "`*` stands for all on a server: SERVER/* or NODE/SERVER/*".to_owned();
            return Err(wrong("a `*` below a target", hint));
        }
        if rest.contains('*') && rest != "*" && !rest.ends_with("/*") {
            let hint = "labels take no globs but `*` for all on a server".to_owned();
            return Err(wrong("a glob", hint));
        }
        Ok(Self { first, rest })
    }

    /// Whether the tool may be meant.
    fn may_hold(&self, tool: &protocol::control::Tool) -> bool {
        let is = |rest: &str| rest == "*" || rest == tool.name;
        let (node, server) = (tool.node.as_str(), tool.server.as_str());
        let below = self.rest.split_once('/');
        (self.first == server && is(self.rest))
            || below.is_some_and(|(s, rest)| self.first == node && s == server && is(rest))
    }
}

/// Whether it is a label as documents write it.
fn word(label: &str) -> Result<(), Failed> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b);
    if !label.is_empty() && label.len() <= MAX_WORD_BYTES && label.bytes().all(inner) {
        return Ok(());
    }
    Err(Failed::input(format!("`{label}` is no label"))
        .with_reason("bad_label")
        .with_hint("a label is a word of 1 to 64 of a-z, 0-9, `_`, `-` and `.`"))
}

fn add(body: &mut BundleBody, target: &str, labels: Vec<String>) {
    let found = body
        .labels
        .binary_search_by(|l| l.target.as_str().cmp(target));
    let at = found.unwrap_or_else(|at| {
        let label = Label {
            target: target.to_owned(),
            labels: Vec::new(),
        };
        body.labels.insert(at, label);
        at
    });
    if let Some(label) = body.labels.get_mut(at) {
        label.labels.extend(labels);
        label.labels.sort_unstable();
        label.labels.dedup();
    }
}

fn remove(body: &mut BundleBody, target: &str, labels: &[String]) -> Result<(), Failed> {
    let unknown = |what: String| {
        Failed::input(what)
            .with_reason("unknown_label")
            .with_hint("see `hedgerow policy show`")
    };
    let Some(found) = body.labels.iter_mut().find(|l| l.target == target) else {
        return Err(unknown(format!("`{target}` has no label")));
    };
    if let Some(missing) = labels.iter().find(|l| !found.labels.contains(l)) {
        return Err(unknown(format!("`{target}` has no label `{missing}`")));
    }
    found
        .labels
        .retain(|l| !labels.is_empty() && !labels.contains(l));
    body.labels.retain(|l| !l.labels.is_empty());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(body: &mut BundleBody, target: &str, labels: &[&str]) {
        let labels = labels.iter().map(|&l| l.to_owned()).collect();
        add(body, target, labels);
        body.validate().unwrap();
    }

    #[test]
    fn labels_are_added_and_taken_in_the_order_a_bundle_has_them() {
        let mut body = BundleBody::default();
        put(&mut body, "shop/*", &["b", "a", "b"]);
        put(&mut body, "crm/get", &["personal"]);
        put(&mut body, "shop/*", &["0"]);
        let shop = &body.labels[1];
        assert_eq!(
            (shop.target.as_str(), &shop.labels[..]),
            ("shop/*", &["0", "a", "b"].map(str::to_owned)[..])
        );
        let taken = ["a".to_owned(), "0".to_owned()];
        remove(&mut body, "shop/*", &taken).unwrap();
        assert_eq!(body.labels[1].labels, ["b"]);
        let missing = remove(&mut body, "shop/*", &taken).unwrap_err();
        assert_eq!(missing.message, "`shop/*` has no label `a`");
        remove(&mut body, "shop/*", &[]).unwrap();
        assert_eq!(body.labels.len(), 1);
        assert!(remove(&mut body, "shop/*", &[]).is_err());
        body.validate().unwrap();
    }

    #[test]
    fn only_what_calls_can_name_is_labelled() {
        for good in [
            "shop/buy",
            "host/shop/buy",
            "shop/*",
            "host/shop/*",
            "files/file:///a/b",
        ] {
            assert!(Place::of(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "shop",
            "shop/",
            "/buy",
            "Shop!/buy",
            "shop/b*",
            "*/buy",
            "a/b/c/*",
        ] {
            assert!(Place::of(bad).is_err(), "{bad}");
        }
        for bad in ["", "PCI", "p c", &"x".repeat(65)] {
            assert!(word(bad).is_err(), "{bad}");
        }
        word("pci-dss_4.0").unwrap();
    }
}
