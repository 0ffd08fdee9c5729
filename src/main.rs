//! Process edge: arguments, exit code.

use std::process::ExitCode;

use clap::Parser as _;

/// Messages and calls are many small allocations, which one thread makes and another frees. The system's allocator
/// keeps returning such memory to the kernel and asking for it again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ringfence::cli::run(ringfence::cli::Cli::parse())
}
