//! Assignors: what must hold, and what the Java client gives.
