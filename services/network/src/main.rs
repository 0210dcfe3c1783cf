//! network

fn main() {}
