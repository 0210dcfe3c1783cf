//! recovery

fn main() {}
