//! What prefix awareness costs: hashing a prompt, looking its blocks up, noting a pick.
//!
//! Run with `cargo bench -p pointsman-core --bench prefix`.

use std::hint::black_box;
use std::ops::ControlFlow;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use pointsman_core::index::believed::BelievedIndex;
use pointsman_core::index::believed::limits::{Limits, MatchMode, Recorded};
use pointsman_core::index::block_hash::{PromptHashes, Scheme};
use pointsman_core::model::prompt::{Form, Piece, PromptView};
use pointsman_core::model::slots::Slot;
use pointsman_core::time::Tick;

/// One prompt that comes in pieces.
struct Cut<'a>(&'a [u8], usize);

impl PromptView for Cut<'_> {
    fn walk(&self, _: Form, take: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>) {
        for piece in self.0.chunks(self.1) {
            if take(Piece::Bytes(piece)).is_break() {
                return;
            }
        }
        let _ = take(Piece::End);
    }
}

fn hashing(c: &mut Criterion) {
    let text = b"The quick brown fox jumps over the lazy dog; it does so often. ".repeat(3252);
    let text = &text[..200 * 1024];
    let max_blocks = u32::MAX;
    let schemes = [
        (
            "64 bytes",
            Scheme::Bytes {
                block: 64,
                max_blocks,
            },
        ),
        (
            "64 tokens",
            Scheme::Tokens {
                block: 64,
                max_blocks,
            },
        ),
        (
            "16 tokens",
            Scheme::Tokens {
                block: 16,
                max_blocks,
            },
        ),
    ];
    let mut group = c.benchmark_group("hashing");
    group.throughput(Throughput::Bytes(text.len() as u64));
    let mut hashes = PromptHashes::default();
    for (name, scheme) in schemes {
        for (cut, piece) in [("one piece", text.len()), ("pieces of 1,000", 1000)] {
            group.bench_function(format!("{name}, {cut}"), |b| {
                b.iter(|| hashes.compute(scheme, "model", "", black_box(&Cut(text, piece))));
            });
        }
    }
    group.finish();
}

/// Hashes of a prompt that differs from all others from block `shared` on.
fn prompt(blocks: u64, shared: u64, own: u64) -> PromptHashes {
    let hash = |at: u64| {
        (if at < shared { at } else { own << 32 | at }).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    };
    let mut hashes = PromptHashes::default();
    hashes.push_prompt(&(0..blocks).map(hash).collect::<Vec<u64>>());
    hashes
}

const fn to(slot: u32) -> Recorded {
    Recorded {
        slot: Slot(slot),
        epoch: 0,
        capacity: 31_250,
    }
}

fn lookups(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup of 64 blocks");
    for slots in [100, 1000] {
        let rows: Vec<Slot> = (0..slots).map(Slot).collect();
        // Everybody holds 16 common blocks and some conversations of their own; other prompts fill the rest.
        let index = BelievedIndex::new(Limits::default());
        for slot in 0..slots {
            for own in 0..20 {
                let own = u64::from(slot) * 20 + own + 1;
                index.insert(&to(slot), &prompt(64, 16, own), Tick(1));
            }
        }
        let everywhere = prompt(64, 64, 0);
        for slot in 0..slots {
            index.insert(&to(slot), &everywhere, Tick(2));
        }
        let asked = [
            ("held by all", everywhere),
            ("16 by all, the rest by one", prompt(64, 16, 7)),
            ("16 by all, the rest by nobody", prompt(64, 16, 0xffff_ffff)),
        ];
        let mut out = Vec::new();
        for (name, hashes) in &asked {
            group.bench_function(BenchmarkId::new(*name, slots), |b| {
                b.iter(|| {
                    index.lookup(
                        black_box(hashes),
                        &rows,
                        |_| 0,
                        MatchMode::Hits,
                        Tick(3),
                        &mut out,
                    )
                });
            });
        }
        let contiguous = BenchmarkId::new("held by all, contiguous", slots);
        group.bench_function(contiguous, |b| {
            let mode = MatchMode::Contiguous;
            b.iter(|| {
                index.lookup(
                    black_box(&asked[0].1),
                    &rows,
                    |_| 0,
                    mode,
                    Tick(3),
                    &mut out,
                )
            });
        });
        // No two blocks have the same holders: the slowest there is.
        for (slot, last) in (0..slots).zip((1..65).cycle()) {
            let mut hashes = PromptHashes::default();
            hashes.push_prompt(&prompt(64, 0, 0xeeee_eeee).all()[..last]);
            index.insert(&to(slot), &hashes, Tick(2));
        }
        let uneven = prompt(64, 0, 0xeeee_eeee);
        group.bench_function(BenchmarkId::new("every block by others", slots), |b| {
            b.iter(|| {
                index.lookup(
                    black_box(&uneven),
                    &rows,
                    |_| 0,
                    MatchMode::Hits,
                    Tick(3),
                    &mut out,
                )
            });
        });
    }
    group.finish();
}

fn insertions(c: &mut Criterion) {
    let mut group = c.benchmark_group("insertion of 64 blocks");
    let index = BelievedIndex::new(Limits::default());
    let again = prompt(64, 0, 1);
    group.bench_function("known", |b| {
        b.iter(|| index.insert(&to(0), black_box(&again), Tick(1)));
    });
    // Each new conversation evicts an old one once the slot is full.
    let mut own = 1;
    group.bench_function("new, evicting", |b| {
        b.iter_batched_ref(
            || {
                own += 1;
                prompt(64, 0, own)
            },
            |hashes| index.insert(&to(1), hashes, Tick(1)),
            criterion::BatchSize::SmallInput,
        );
    });
    let index = BelievedIndex::new(Limits::default());
    for slot in 0..1000 {
        index.insert(&to(slot), &again, Tick(1));
    }
    group.bench_function("known, held by 1,000", |b| {
        b.iter(|| index.insert(&to(500), black_box(&again), Tick(1)));
    });
    group.finish();
}

criterion_group!(benches, hashing, lookups, insertions);
criterion_main!(benches);
