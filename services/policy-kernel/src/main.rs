//! policy-kernel

fn main() {}
