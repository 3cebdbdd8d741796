//! What `hedgerow doctor` reports: named checks, each with its likely cause and the mend.
//!
//! The running node judges what only it knows (links, trust, servers) and answers with these;
//! the command line adds what can be told from the state directory alone.

/// How a check came out. The order is that of severity.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and will not for long, or one failure away from not working.
    Warn,
    /// It does not work.
    Fail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Check {
    /// Its stable name, snake_case (`clock`, `bootstrap`, `revoked`, …).
    pub name: String,
    /// How it came out.
    pub level: Level,
    /// What was found: one lowercase line.
    pub message: String,
    /// The likely cause, where something is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Check {
    /// Something as it should be.
    #[must_use]
    pub fn ok(name: &str, message: impl Into<String>) -> Self {
        Self::at(Level::Ok, name, message.into())
    }

    /// Something that will not hold for long.
    #[must_use]
    pub fn warn(name: &str, message: impl Into<String>) -> Self {
        Self::at(Level::Warn, name, message.into())
    }

    /// Something that does not work.
    #[must_use]
    pub fn fail(name: &str, message: impl Into<String>) -> Self {
        Self::at(Level::Fail, name, message.into())
    }

    /// With the likely cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// With what to do.
    #[must_use]
    pub fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }

    fn at(level: Level, name: &str, message: String) -> Self {
        Self {
            name: name.to_owned(),
            level,
            message,
            cause: None,
            mend: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_well_has_neither_cause_nor_mend() {
        let check = Check::ok("clock", "the clock is right");
        assert_eq!(
            serde_json::to_string(&check).unwrap(),
            r#"{"name":"clock","level":"ok","message":"the clock is right"}"#
        );
        let check = Check::fail("clock", "m").because("c").mend("d");
        let text = serde_json::to_string(&check).unwrap();
        assert_eq!(serde_json::from_str::<Check>(&text).unwrap(), check);
        assert!(Level::Fail > Level::Warn && Level::Warn > Level::Ok);
    }
}
