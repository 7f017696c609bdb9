//! The same answers as JSON, JSON Lines, CSV and text.
