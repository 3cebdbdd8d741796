//! Messages byte for byte, and machines against one another.

mod messages;
