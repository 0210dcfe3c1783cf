//! verifier

fn main() {}
