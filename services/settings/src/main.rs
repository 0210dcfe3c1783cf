//! settings

fn main() {}
