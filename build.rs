//! Makes the Rust of the lifecycle API from its `.proto`, without a protobuf compiler on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let definition = "src/lifecycle/lifecycle.proto";
    println!("cargo::rerun-if-changed={definition}");
    let described = protox::compile([definition], ["src/lifecycle"])?;
    tonic_prost_build::configure().build_transport(false).emit_rerun_if_changed(false).compile_fds(described)?;
    Ok(())
}
