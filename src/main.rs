//! The program. All of it is in the library: see `entry.rs`.

fn main() -> std::process::ExitCode {
    manytail::entry::main()
}
