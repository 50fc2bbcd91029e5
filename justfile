# Short names for the commands of the README. Everything works without just.

# Prepares the counterparts that tests need, once, into the cache.
setup:
    cargo xtask setup

# All that the landing check runs.
check:
    cargo xtask test

# One stage or one file of end-to-end tests, e.g. `just only lab`.
only name:
    cargo xtask test --only {{name}}

# Rewrites generated documents.
generate:
    cargo xtask generate

# Measures; see docs/benchmarks.md.
bench:
    cargo xtask bench

# Throws changed inputs at every parser.
fuzz:
    cargo xtask fuzz

# The lab on this machine.
up:
    cargo run --release
