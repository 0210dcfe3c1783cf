//! agent-door

fn main() {}
