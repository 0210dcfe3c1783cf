//! aios

fn main() {}
