//! Process edge: arguments, exit code.

use std::process::ExitCode;

use clap::Parser as _;

/// Messages and calls are many small pieces that one thread takes and another gives back; the system's allocator returns
/// their memory to the kernel and asks for it again all the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ringfence::cli::run(ringfence::cli::Cli::parse())
}
