//! Calls to one receiver: the replay window and the stream checks of `protocol`, on real envelopes.

mod envelopes;
mod invariants;
mod network;
mod receiver;
pub(crate) mod report;
pub(crate) mod scenario;
mod sender;
#[cfg(test)]
mod tests;
pub(crate) mod world;
