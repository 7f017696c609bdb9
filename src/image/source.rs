//! The file: mapped, and read by copying. The only place with `unsafe`.
