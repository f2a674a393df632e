//! The `midship` program: controller, command line and (later) console.
fn main() {}
