//! The `midship-agent` program that runs inside pods.
fn main() {}
