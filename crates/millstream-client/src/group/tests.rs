//! Members against a scripted coordinator.
