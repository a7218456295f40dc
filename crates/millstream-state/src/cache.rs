//! The write-back cache: operators see entries as native values, the backend sees bytes.

mod budget;
mod entry;
mod family;
mod range;

pub use budget::MemoryBudget;
pub use entry::{Entry, EntryError};
pub use family::{AnyFamily, CacheSettings, Family, FamilyContext, FamilyStats};
pub use range::KeyRange;
