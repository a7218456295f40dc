//! The admin client against scripted brokers.
