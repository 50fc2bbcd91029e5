//! How many blocks of a request each slot holds.
//!
//! Neighbouring blocks of a prompt mostly have the same holders (everyone who served the system prompt, then the
//! one that served the conversation). A run of equal sets is counted once, so a block costs one probe of the table
//! and one comparison of prints, and a slot costs something only where the set of holders changes.

use std::ops::Range;

use crate::index::believed::limits::MatchMode;
use crate::index::believed::store::Store;
use crate::index::block_hash::PromptHashes;
use crate::model::slots::Slot;

/// Writes the matched blocks of every row to `out`. `epoch` tells the present epoch of a slot; what a slot held
/// under an older one does not count.
pub(crate) fn matched(
    store: &Store,
    hashes: &PromptHashes,
    rows: &[Slot],
    epoch: impl Fn(Slot) -> u32,
    mode: MatchMode,
    out: &mut Vec<u32>,
) {
    let width = store.held().len();
    // The counts by slot live behind the rows, so a warm caller needs no other memory.
    out.clear();
    out.resize(rows.len() + width * 2, 0);
    let (answer, counts) = out.split_at_mut(rows.len());
    let (total, reached) = counts.split_at_mut(width);
    let past = |slot: u32| store.past(slot, epoch(Slot(slot)));
    let any_past = (0..width as u32).any(past);
    for prompt in hashes.prompts() {
        // The holders of the current run, their print, and the blocks of the run.
        let mut holders: &[u32] = &[];
        let mut print = 0;
        let mut run = 0..0;
        for &hash in prompt {
            let Some(block) = store.block(hash) else {
                break;
            };
            if any_past && block.slots().iter().all(|&slot| past(slot)) {
                break;
            }
            if block.print() != print || run.is_empty() {
                if !count(mode, holders, run.clone(), total, reached) {
                    holders = &[];
                    break;
                }
                (holders, print) = (block.slots(), block.print());
                run.start = run.end;
            }
            run.end += 1;
        }
        count(mode, holders, run, total, reached);
        if mode == MatchMode::Contiguous {
            for (sum, reached) in total.iter_mut().zip(reached.iter_mut()) {
                *sum += std::mem::take(reached);
            }
        }
    }
    for (row, matched) in rows.iter().zip(answer) {
        let slot = row.0 as usize;
        if slot < width && (!any_past || !past(row.0)) {
            *matched = total[slot];
        }
    }
    out.truncate(rows.len());
}

/// Counts a run of blocks with the same holders; whether what follows can still count for anyone.
fn count(
    mode: MatchMode,
    holders: &[u32],
    run: Range<u32>,
    total: &mut [u32],
    reached: &mut [u32],
) -> bool {
    if run.is_empty() {
        return true;
    }
    match mode {
        MatchMode::Hits => {
            for &slot in holders {
                total[slot as usize] += run.end - run.start;
            }
            true
        }
        MatchMode::Contiguous => {
            let mut any = false;
            for &slot in holders {
                let reached = &mut reached[slot as usize];
                if *reached == run.start {
                    *reached = run.end;
                    any = true;
                }
            }
            any
        }
    }
}
