//! The policies a mesh is founded with, which a newcomer can read.

use super::JSON_MEDIA_TYPE;
use crate::name::{Name, PolicyName};
use crate::trust::bundle::{BundleBody, Policy};

/// The name of the one document in the starter bundle.
pub const STARTER: &str = "starter";

/// The document; the words in capitals are replaced.
const TEXT: &str = r#"{
  "policy_name": "starter",
  "description": "WHO may call pinned tools that only read. Anything else waits until the operator of the server's node approves it (hedgerow approvals). Pin a tool you trust with hedgerow policy pin; put your own policies beside or in place of this one with hedgerow policy apply and remove.",
SUBJECTS  "intents": {
    "allowed": ["read"],
    "pinned": true
  },
  "action_on_violation": "require_approval",
  "tests": [
    {
      "name": "a pinned tool that reads",
      "call": {"agent": "bot", "node": "desk"GROUPS, "server": "shop", "tool": "get_product_info", "pinned": true},
      "expect": "allow"
    },
    {
      "name": "a tool nobody pinned",
      "call": {"agent": "bot", "node": "desk"GROUPS, "server": "shop", "tool": "get_product_info", "pinned": false},
      "expect": "hold"
    },
    {
      "name": "a pinned tool that writes",
      "call": {"agent": "bot", "node": "desk"GROUPS, "server": "shop", "tool": "update_price", "pinned": true},
      "expect": "hold"
    }
  ]
}
"#;

/// The first bundle of a mesh: agents on nodes of these groups, or of no group on all nodes, may
/// call pinned tools that only read, and anything else is held until it is approved.
#[must_use]
pub fn starter_bundle(groups: &[Name]) -> BundleBody {
    let Ok(name) = STARTER.parse::<PolicyName>() else {
        // The name is one, as a test shows.
        return BundleBody::default();
    };
    let policy = Policy {
        name,
        media_type: JSON_MEDIA_TYPE.to_owned(),
        bytes: document(groups).into_bytes(),
    };
    BundleBody {
        policies: vec![policy],
        ..BundleBody::default()
    }
}

fn document(groups: &[Name]) -> String {
    let listed = |many: &[Name]| {
        let quoted: Vec<String> = many.iter().map(|name| format!("\"{name}\"")).collect();
        quoted.join(", ")
    };
    let (who, subjects, of_call) = match groups {
        [] => ("Agents", String::new(), String::new()),
        [first, ..] => (
            "Agents of these groups",
            format!("  \"subjects\": {{\"groups\": [{}]}},\n", listed(groups)),
            format!(", \"groups\": [\"{first}\"]"),
        ),
    };
    TEXT.replace("WHO", who)
        .replace("SUBJECTS", &subjects)
        .replace("GROUPS", &of_call)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::CompiledBundle;
    use crate::policy::testing;

    #[test]
    fn it_compiles_and_its_own_tests_pass() {
        let group = ["agents".parse().unwrap(), "ops".parse().unwrap()];
        for groups in [&[][..], &group[..]] {
            let body = starter_bundle(groups);
            body.validate().unwrap();
            let bundle = CompiledBundle::compile(1, &body).unwrap();
            let outcomes = testing::run(&bundle);
            assert_eq!(outcomes.len(), 3);
            for outcome in &outcomes {
                assert!(outcome.passed, "{outcome:?}");
            }
        }
    }
}
