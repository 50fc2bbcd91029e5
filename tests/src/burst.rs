//! Many clients at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Does `work(0)` … `work(count - 1)` on `concurrency` threads; the results in the order of their numbers.
///
/// # Panics
/// When one of them does.
pub fn burst<T: Send>(
    count: usize,
    concurrency: usize,
    work: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(count));
    std::thread::scope(|scope| {
        for _ in 0..concurrency.min(count) {
            let builder = std::thread::Builder::new().stack_size(512 * 1024);
            let worker = || loop {
                // Relaxed: each number is handed out once, nothing else is ordered by it.
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                let result = work(number);
                results
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((number, result));
            };
            builder
                .spawn_scoped(scope, worker)
                .expect("the system has threads left");
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}
