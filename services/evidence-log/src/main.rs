//! evidence-log

fn main() {}
