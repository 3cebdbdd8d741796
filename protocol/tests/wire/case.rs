//! One input and the name of what must become of it.

/// What an input that holds is called.
pub(crate) const ACCEPTED: &str = "accepted";

/// A named input with its expected outcome: [`ACCEPTED`] or the stable name of the refusal.
pub(crate) struct Case {
    /// Unique among the cases of its kind.
    pub(crate) name: String,
    /// The bytes as they would be received.
    pub(crate) bytes: Vec<u8>,
    /// The outcome.
    pub(crate) expected: &'static str,
}

/// A case.
pub(crate) fn case(
    name: impl Into<String>,
    bytes: impl Into<Vec<u8>>,
    expected: &'static str,
) -> Case {
    Case {
        name: name.into(),
        bytes: bytes.into(),
        expected,
    }
}

/// Judges every case and says which ones came out otherwise.
pub(crate) fn run(cases: &[Case], judge: impl Fn(&[u8]) -> &'static str) {
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let found = judge(&case.bytes);
            (found != case.expected)
                .then(|| format!("{}: {found}, expected {}", case.name, case.expected))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Named changes to a `T`, each with the outcome of what is made of it then.
pub(crate) type Alterations<T> = [(&'static str, &'static str, fn(&mut T))];
