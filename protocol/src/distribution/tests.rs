//! Messages byte for byte, and machines against one another.

mod acks;
mod byzantine;
mod fake;
mod messages;
mod net;
mod spread;
mod world;
