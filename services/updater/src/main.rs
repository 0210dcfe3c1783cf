//! updater

fn main() {}
