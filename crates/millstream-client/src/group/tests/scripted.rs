//! Single situations, one after the other.
