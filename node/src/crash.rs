//! Where changes of several files may be killed: nothing, but in tests, which kill them at each of
//! these points and look whether what is left is finished or as it was.

/// A moment between two steps.
#[cfg(not(test))]
pub(crate) const fn point() {}

/// A moment between two steps; the one that the test chose does not return.
#[cfg(test)]
pub(crate) fn point() {
    LEFT.with(|left| match left.get() {
        Some(0) => {
            // Only once: what is unwound now is not killed again.
            left.set(None);
            // Without the hook, which would print every one of them.
            std::panic::resume_unwind(Box::new("killed"));
        }
        Some(count) => left.set(Some(count - 1)),
        None => {}
    });
}

#[cfg(test)]
thread_local! {
    static LEFT: std::cell::Cell<Option<usize>> = const { std::cell::Cell::new(None) };
}

/// Kills what runs on this thread after so many points; `None` lets it live.
#[cfg(test)]
pub(crate) fn after(points: Option<usize>) {
    LEFT.with(|left| left.set(points));
}
