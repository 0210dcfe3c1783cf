//! object-store

fn main() {}
