//! A running digest over everything that happens in a run, so that two runs can be compared by one
//! line. Quick rather than strong: nobody forges a trace.

/// The digest so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace([u64; 2]);

impl Trace {
    /// Of nothing.
    pub(crate) const fn new() -> Self {
        Self([0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f])
    }

    /// Takes in one event: a few numbers that say what it was.
    pub(crate) fn note(&mut self, words: &[u64]) {
        let [a, b] = &mut self.0;
        for word in words {
            *a = (*a ^ *word)
                .wrapping_mul(0x1656_67b1_9e37_79f9)
                .rotate_left(29);
            *b = (*b ^ *a)
                .wrapping_mul(0x27d4_eb2f_1656_67c5)
                .rotate_left(31);
        }
    }

    /// The digest in hexadecimal digits.
    pub(crate) fn hex(&self) -> String {
        let [a, b] = self.0;
        format!("{a:016x}{b:016x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_number_matter() {
        let of = |events: &[&[u64]]| {
            let mut trace = Trace::new();
            events.iter().for_each(|e| trace.note(e));
            trace.hex()
        };
        assert_eq!(of(&[&[1, 2], &[3]]), of(&[&[1, 2], &[3]]));
        assert_ne!(of(&[&[1, 2], &[3]]), of(&[&[3], &[1, 2]]));
        assert_ne!(of(&[&[1, 2]]), of(&[&[1, 2], &[0]]));
    }
}
