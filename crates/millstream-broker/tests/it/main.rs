//! The broker as a process and over sockets, spoken to with the codec itself.

mod client;
mod durability;
mod embedded;
mod process;
mod security;
mod sockets;
mod transactions;
