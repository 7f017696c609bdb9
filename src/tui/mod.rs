//! The interactive program; the only place that knows ratatui and crossterm.
