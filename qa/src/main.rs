//! qa

fn main() {}
