//! console

fn main() {}
