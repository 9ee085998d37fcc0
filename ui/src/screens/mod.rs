//! The screens, one file each.

pub(crate) mod help;
pub(crate) mod line;
pub(crate) mod overview;
pub(crate) mod review;
