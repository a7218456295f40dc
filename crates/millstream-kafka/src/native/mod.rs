//! The clients on `millstream-client`, which is ours: the same traits, without C.

mod admin;
mod errors;
mod settings;

pub use admin::NativeAdmin;
#[cfg(not(feature = "librdkafka"))]
pub(crate) use errors::error_of_code;
