//! What nodes tell each other of themselves: hello, node records, and who keeps a link to whom.
//!
//! Every member holds the directory, so every member learns every record: over a *sync* stream
//! when a link comes up, and by gossip afterwards. Only verified records are kept or passed on; a
//! forged one goes no further than the first node it reaches. Trust documents go by streams of their
//! own, and their heads by gossip too. It decides nothing about calls.

mod admission;
mod dial;
pub mod heads;
mod records;
pub mod trust;

pub use admission::{KeptOff, MeshAdmission};
pub use dial::{COOL_DOWN, Dialing, STANDING_LINKS, Seed, keep_links};
pub use records::{RENEW_AFTER, Records, TOPIC};
