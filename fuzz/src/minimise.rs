//! A failing input made small: parts are left out as long as it still fails at the same place.

/// Runs that are spent on one input.
const MOST_RUNS: usize = 4000;

/// A smaller input for which `fails` still holds, or the input itself. `fails` is not asked about the input as it is.
pub fn minimise(input: &[u8], mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut best = input.to_vec();
    let mut runs = 0;
    let mut try_one = |candidate: &[u8]| {
        runs += 1;
        (runs <= MOST_RUNS).then(|| fails(candidate))
    };
    let mut size = best.len().div_ceil(2);
    while size > 0 {
        let mut smaller = false;
        let mut start = 0;
        while start < best.len() {
            let mut candidate = best.clone();
            candidate.drain(start..best.len().min(start + size));
            match try_one(&candidate) {
                None => return best,
                Some(true) => {
                    best = candidate;
                    smaller = true;
                }
                Some(false) => start += size,
            }
        }
        if !(smaller && size == 1) {
            size /= 2;
        }
    }
    // Letters that do not matter are made plain, so that those that do stand out.
    for at in 0..best.len() {
        if best[at].is_ascii_alphanumeric() || best[at] < b' ' || best[at] >= 0x7f {
            let was = std::mem::replace(&mut best[at], b'a');
            if was == b'a' || try_one(&best) != Some(true) {
                best[at] = was;
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_left() {
        let fails =
            |input: &[u8]| input.windows(2).any(|two| two == b"[[") && input.contains(&b'7');
        let input = b"xx{\"k\": [[1, 2, 3], [4, 5, 6, 7]], \"z\": \"long text that has nothing to do with it\"}";
        assert_eq!(minimise(input, fails), b"[[7");
        assert_eq!(minimise(b"", |_| true), b"");
    }
}
