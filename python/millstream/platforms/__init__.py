"""Platforms that Quix Streams runs on."""
