//! action-runtime

fn main() {}
