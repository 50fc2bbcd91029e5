//! The binary: allocator, arguments, exit code; everything else is in the commands.

mod arguments;
mod bench;
mod certificates;
mod commands;
mod console;
mod doctor;
mod explain;
mod findings;
mod fleet;
mod lab;
mod place;
mod planning;
mod receipts;
mod remote;
mod scan;
mod serving;
mod traces;
mod verify;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::run(std::env::args_os().collect())
}
