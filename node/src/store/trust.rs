//! The rows of trust documents: which document, or which part of one, a row holds.
//!
//! Roots are not among them: they stand in a file of their own ([`crate::roots`]), because commands
//! that run without the node need them. A log's entries are kept in the pieces in which they came, each under the place of its first
//! entry, so that appending one revocation writes one small row however long the log is.

use protocol::id::SignerId;

/// Largest row: what is remembered of two full logs, which is more than any bundle.
pub(super) const MAX_ROW_BYTES: usize = 16 * 1024 * 1024;

/// Most rows: every admin's log at its bound in pieces of one entry, and what stands beside them.
pub(super) const MAX_ROWS: u64 = 2_000_000;

/// Which document or part of one. A forked log has two branches, `0` and `1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrustRow {
    /// The head of the bundle in force.
    BundleHead,
    /// Its body.
    BundleBody,
    /// The head of a branch of an admin's revocation log.
    LogHead(SignerId, u8),
    /// Entries of a branch, from this place on.
    LogEntries(SignerId, u8, u64),
    /// The newest timestamp of a timestamper.
    Timestamp(SignerId),
    /// The newest timestamp of which everything was in force.
    Complete,
    /// What no document says.
    Memory,
}

impl TrustRow {
    /// The key: a byte for the kind, an identifier, a branch, a place, big-endian.
    pub(super) fn key(&self) -> Vec<u8> {
        let (kind, id): (u8, Option<&SignerId>) = match self {
            Self::BundleHead => (2, None),
            Self::BundleBody => (3, None),
            Self::LogHead(admin, _) => (4, Some(admin)),
            Self::LogEntries(admin, ..) => (5, Some(admin)),
            Self::Timestamp(signer) => (6, Some(signer)),
            Self::Complete => (7, None),
            Self::Memory => (8, None),
        };
        let mut key = vec![kind];
        key.extend(id.into_iter().flat_map(SignerId::as_bytes));
        match self {
            Self::LogHead(_, branch) => key.push(*branch),
            Self::LogEntries(_, branch, place) => {
                key.push(*branch);
                key.extend(place.to_be_bytes());
            }
            _ => {}
        }
        key
    }

    /// The row with this key.
    pub(super) fn from_key(key: &[u8]) -> Option<Self> {
        let (kind, rest) = key.split_first()?;
        let signer = || {
            let (id, rest) = rest.split_first_chunk::<32>()?;
            Some((SignerId::from_bytes(*id), rest))
        };
        match (kind, rest) {
            (2, []) => Some(Self::BundleHead),
            (3, []) => Some(Self::BundleBody),
            (4, _) => match signer()? {
                (admin, [branch]) => Some(Self::LogHead(admin, *branch)),
                _ => None,
            },
            (5, _) => {
                let (admin, rest) = signer()?;
                let (branch, place) = rest.split_first()?;
                let place = u64::from_be_bytes(place.try_into().ok()?);
                Some(Self::LogEntries(admin, *branch, place))
            }
            (6, _) => match signer()? {
                (timestamper, []) => Some(Self::Timestamp(timestamper)),
                _ => None,
            },
            (7, []) => Some(Self::Complete),
            (8, []) => Some(Self::Memory),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_one_key_and_keys_sort_by_kind_and_place() {
        let signer = SignerId::from_bytes([7; 32]);
        let rows = [
            TrustRow::BundleHead,
            TrustRow::BundleBody,
            TrustRow::LogHead(signer, 0),
            TrustRow::LogHead(signer, 1),
            TrustRow::LogEntries(signer, 0, 1),
            TrustRow::LogEntries(signer, 0, 300),
            TrustRow::LogEntries(signer, 1, 0),
            TrustRow::Timestamp(signer),
            TrustRow::Complete,
            TrustRow::Memory,
        ];
        let keys: Vec<_> = rows.iter().map(TrustRow::key).collect();
        assert!(keys.is_sorted());
        for (row, key) in rows.iter().zip(&keys) {
            assert_eq!(TrustRow::from_key(key), Some(*row));
            assert_eq!(TrustRow::from_key(&[key.as_slice(), &[0]].concat()), None);
        }
        assert_eq!(TrustRow::from_key(&[]), None);
        assert_eq!(TrustRow::from_key(&[9]), None);
    }
}
