//! Messages byte for byte, and machines against one another.

mod acks;
mod announce;
mod byzantine;
mod convergence;
mod fake;
mod messages;
mod net;
mod spread;
mod world;
