//! Flags and subcommands; headless runs.
