//! The shipped policy and the bundle it travels in, as other crates see them.

mod bundle;
mod decide;
mod shipped;
