//! installer

fn main() {}
