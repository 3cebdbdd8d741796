//! What each key of a document means.

use crate::world::{Call, one};

#[test]
fn prompts_and_resources_are_of_their_own_kind() {
    let bundle = one(
        r#""allowed_prompts": ["review*"], "allowed_resources": ["file:///srv/*"]"#,
        &[],
    );
    assert_eq!(Call::prompt("review_code").says(&bundle), "allow");
    assert_eq!(
        Call::prompt("other").says(&bundle),
        "deny prompt_not_allowed"
    );
    assert_eq!(Call::resource("file:///srv/a/b").says(&bundle), "allow");
    assert_eq!(
        Call::resource("file:///etc").says(&bundle),
        "deny resource_not_allowed"
    );
    assert_eq!(Call::tool("get_it").says(&bundle), "deny not_permitted");
}
