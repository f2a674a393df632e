//! Makes the Rust of the lifecycle API from its `.proto`, without a protobuf compiler on the machine, and has the programs
//! that people run linked small.

use std::process::Command;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let definition = "src/lifecycle/lifecycle.proto";
    println!("cargo::rerun-if-changed={definition}");
    let described = protox::compile([definition], ["src/lifecycle"])?;
    tonic_prost_build::configure().build_transport(false).emit_rerun_if_changed(false).compile_fds(described)?;
    if reads_packed_relocations() {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    Ok(())
}

/// Whether the C library that is linked in applies relocations in the packed form. Each process reads all of them when it
/// starts: unpacked they are 1.5 MiB of an agent's memory.
fn reads_packed_relocations() -> bool {
    let built_for = |name| std::env::var(name).unwrap_or_default();
    let here = built_for("HOST") == built_for("TARGET") && built_for("TARGET").ends_with("-linux-gnu");
    here && built_for("PROFILE") == "release" && version_of_libc().is_some_and(|version| version >= (2, 36))
}

fn version_of_libc() -> Option<(u32, u32)> {
    let told = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    let (major, minor) = told.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
