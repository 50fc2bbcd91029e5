//! The one pass over a page, frame by frame.

use std::sync::Arc;

use pointsman_core::model::reported::Reported;

use crate::prometheus::lexicon::{Field, Lexicon, Means, Wanted};
use crate::prometheus::readings::{NotExposition, Readings};
use crate::prometheus::report::Report;
use crate::prometheus::series::{Series, is_sample, number};
use smallvec::SmallVec;

/// Longest line that may lie across frames; longer ones are no series of ours and are passed over.
const MAX_KEPT_LINE: usize = 64 * 1024;

/// Reads pages of one engine, one after the other; its memory is reused.
///
/// `feed` each frame, then `finish`, which also makes it ready for the next page.
#[derive(Debug)]
pub struct Reader {
    lexicon: Arc<Lexicon>,
    page: Page,
    report: Report,
    /// What the last whole page reported.
    reported: Reported,
    /// The beginning of a line whose end has not come.
    kept: Vec<u8>,
    /// The line under way is too long to keep.
    overlong: bool,
}

/// Labels by which an engine tells its data-parallel ranks apart.
const RANKS: [&str; 2] = ["engine", "dp_rank"];

/// Values of further ranks that one page may have.
const MAX_RANKS: usize = 192;

/// The number of a rank.
fn rank_of(label: &[u8]) -> Option<u32> {
    std::str::from_utf8(label).ok()?.parse().ok()
}

/// What the lines so far said.
#[derive(Clone, Debug, Default)]
struct Page {
    best: [Best; Field::COUNT],
    /// The same of further ranks.
    ranks: SmallVec<[(Field, u32, Best); 6]>,
    served: Option<f64>,
    problems: u32,
    /// Whether the first line that is not blank looks like one of a metrics page.
    plausible: Option<bool>,
    any: bool,
}

impl Reader {
    /// A reader that looks for the words of `lexicon`.
    pub fn new(lexicon: Arc<Lexicon>) -> Self {
        Self {
            lexicon,
            page: Page::default(),
            report: Report::default(),
            reported: Reported::default(),
            kept: Vec::new(),
            overlong: false,
        }
    }

    /// Forgets a page that was not finished.
    pub fn begin(&mut self) {
        self.page = Page::default();
        self.report = Report::default();
        self.kept.clear();
        self.overlong = false;
    }

    /// Takes in the next frame of the page.
    pub fn feed(&mut self, frame: &[u8]) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', frame) {
            let line = &frame[start..end];
            start = end + 1;
            if self.kept.is_empty() && !self.overlong {
                self.page.line(&self.lexicon, line, &mut self.report);
            } else {
                self.keep(line);
                self.end_kept();
            }
        }
        self.keep(&frame[start..]);
    }

    /// The page is at its end: what it said.
    ///
    /// # Errors
    /// It is no exposition text.
    pub fn finish(&mut self) -> Result<Readings, NotExposition> {
        self.end_kept();
        let said = self.page.readings();
        self.reported = self.report.take();
        self.begin();
        said
    }

    /// What the page that was finished last reports beyond its gauges; taken out once.
    pub fn reported(&mut self) -> Reported {
        std::mem::take(&mut self.reported)
    }

    fn keep(&mut self, part: &[u8]) {
        if self.kept.len() + part.len() > MAX_KEPT_LINE {
            self.overlong = true;
            self.kept.clear();
        }
        if !self.overlong {
            self.kept.extend_from_slice(part);
        }
    }

    fn end_kept(&mut self) {
        if self.overlong {
            self.page.problems += 1;
            let _ = self.page.plausible.get_or_insert(false);
            self.overlong = false;
        } else {
            self.page.line(&self.lexicon, &self.kept, &mut self.report);
        }
        self.kept.clear();
    }
}

impl Page {
    #[inline]
    fn line(&mut self, lexicon: &Lexicon, line: &[u8], report: &mut Report) {
        if self.plausible.is_none() && !line.trim_ascii().is_empty() {
            self.plausible = Some(line[0] == b'#' || is_sample(line));
        }
        if line.first() == Some(&b'#') {
            return;
        }
        for (wanted, rest) in lexicon.matches(line) {
            match Series::parse(rest) {
                Some(series) => {
                    self.any = true;
                    self.offer(wanted, &series, report);
                }
                None => self.problems += 1,
            }
        }
    }

    /// Offers a series to the fields that it has a value for.
    fn offer(&mut self, wanted: &Wanted, series: &Series<'_>, report: &mut Report) {
        let carries =
            |(name, value): &(String, String)| series.label(name) == Some(value.as_bytes());
        if !wanted.labels.iter().all(carries) {
            return;
        }
        match &wanted.means {
            Means::Value(field) => {
                let rank = RANKS.iter().find_map(|name| series.label(name));
                let rank = rank.and_then(rank_of).unwrap_or(0);
                match self.best_of(*field, rank) {
                    Some(best) => best.offer(series.stamp, series.value),
                    None => self.problems += 1,
                }
            }
            Means::Served if series.value.is_finite() && series.value >= 0.0 => {
                *self.served.get_or_insert(0.0) += series.value;
            }
            Means::Served => self.problems += 1,
            Means::Lora => report.lora(series),
            Means::Attribute(name) => report.attribute(name, series),
            Means::CacheInfo {
                block_size,
                num_blocks,
            } => {
                for (field, name) in [
                    (Field::BlockSize, block_size),
                    (Field::NumBlocks, num_blocks),
                ] {
                    // Before it has sized its cache vLLM writes None here.
                    let Some(text) = series.label(name).filter(|text| *text != b"None") else {
                        continue;
                    };
                    match number(text) {
                        Some(value) => self.best[field as usize].offer(series.stamp, value),
                        None => self.problems += 1,
                    }
                }
            }
        }
    }

    /// The series of a field and a rank that counts so far; `None` where there are too many ranks.
    fn best_of(&mut self, field: Field, rank: u32) -> Option<&mut Best> {
        if rank == 0 {
            return Some(&mut self.best[field as usize]);
        }
        let mut known = self.ranks.iter();
        let at = match known.position(|(of, at, _)| (*of, *at) == (field, rank)) {
            Some(at) => at,
            None if self.ranks.len() >= MAX_RANKS => return None,
            None => {
                self.ranks.push((field, rank, Best::default()));
                self.ranks.len() - 1
            }
        };
        Some(&mut self.ranks[at].2)
    }

    /// The value of a field over all ranks: counts are added up, of shares it is the mean, of anything else the first.
    fn over_ranks(&self, field: Field) -> Option<f64> {
        let first = self.best[field as usize].value;
        let others = self.ranks.iter().filter(|(of, _, _)| *of == field);
        let values = || {
            let others = others.clone().filter_map(|(_, _, best)| best.value);
            first.into_iter().chain(others)
        };
        match field {
            Field::Waiting | Field::Running => values().reduce(|sum, more| sum + more),
            Field::KvUsage => {
                let sum = values().reduce(|sum, more| sum + more)?;
                Some(sum / values().count() as f64)
            }
            _ => values().next(),
        }
    }

    fn readings(&self) -> Result<Readings, NotExposition> {
        if self.plausible != Some(true) && !self.any {
            return Err(NotExposition);
        }
        let mut problems = self.problems;
        let mut usable = |field: Field, least: f64, most: f64| {
            let value = self.over_ranks(field)?;
            let fits = (least..=most).contains(&value);
            problems += u32::from(!fits);
            fits.then_some(value)
        };
        let most = f64::from(u32::MAX);
        let waiting = usable(Field::Waiting, 0.0, most);
        let running = usable(Field::Running, 0.0, most);
        // A sum of rounded shares may end a hair above one.
        let kv_usage = usable(Field::KvUsage, 0.0, 1.0 + 1e-6);
        let block_size = usable(Field::BlockSize, 1.0, most);
        let num_blocks = usable(Field::NumBlocks, 1.0, most);
        let start_time = usable(Field::StartTime, 0.0, 1e12);
        // Finite counts may have a sum that is not.
        let served = self.served.filter(|sum| sum.is_finite());
        problems += u32::from(served.is_none() && self.served.is_some());
        Ok(Readings {
            waiting: waiting.map(f64::trunc),
            running: running.map(f64::trunc),
            kv_usage: kv_usage.map(|usage| usage.min(1.0)),
            block_size: block_size.map(|size| size as u32),
            num_blocks: num_blocks.map(|blocks| blocks as u32),
            start_time,
            served,
            problems,
        })
    }
}

/// The series that counts so far.
#[derive(Clone, Copy, Debug, Default)]
struct Best {
    value: Option<f64>,
    stamp: Option<f64>,
}

impl Best {
    fn offer(&mut self, stamp: Option<f64>, value: f64) {
        if self.value.is_none() || stamp > self.stamp {
            *self = Self {
                value: Some(value),
                stamp,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::prometheus::dialect::Dialect;
    use crate::prometheus::metric_spec;
    use pointsman_core::contract::data_layer::EngineSpec;
    use proptest::prelude::*;

    const PAGE: &str = "# HELP x y\r\nvllm:num_requests_waiting{a=\"\u{e9}\"} 3 5\nvllm:num_requests_running 2\n\
        vllm:kv_cache_usage_perc 0.5\nvllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"7\"} 1\n\
        vllm:request_success_total{finished_reason=\"stop\"} 3\nvllm:request_success_total{finished_reason=\"length\"} 4\n\
        process_start_time_seconds 17";

    fn reader() -> Reader {
        Reader::new(Lexicon::of_dialect(Dialect::Vllm).into())
    }

    proptest! {
        #[test]
        fn however_a_page_is_cut_it_says_the_same(mut cuts in prop::collection::vec(0..PAGE.len(), 0..12)) {
            let mut whole = reader();
            whole.feed(PAGE.as_bytes());
            let expected = whole.finish().unwrap();
            prop_assert_eq!(expected.served, Some(7.0));
            cuts.sort_unstable();
            let mut in_parts = reader();
            let mut start = 0;
            for cut in cuts {
                in_parts.feed(&PAGE.as_bytes()[start..cut]);
                start = cut;
            }
            in_parts.feed(&PAGE.as_bytes()[start..]);
            prop_assert_eq!(in_parts.finish().unwrap(), expected);
        }
    }

    #[test]
    fn ranks_are_added_up_and_of_shares_it_is_the_mean() {
        let mut reader = reader();
        for rank in 0..4 {
            let line = format!(
                "vllm:num_requests_waiting{{engine=\"{rank}\",model_name=\"m\"}} {rank}\n\
                 vllm:num_requests_running{{model_name=\"m\",engine=\"{rank}\"}} 2\n\
                 vllm:kv_cache_usage_perc{{engine=\"{rank}\"}} 0.{rank}\n"
            );
            reader.feed(line.as_bytes());
        }
        // Another model of the same rank is not added.
        reader.feed(b"vllm:num_requests_waiting{engine=\"3\",model_name=\"n\"} 50\n");
        let readings = reader.finish().unwrap();
        assert_eq!((readings.waiting, readings.running), (Some(6.0), Some(8.0)));
        assert!((readings.kv_usage.unwrap() - 0.15).abs() < 1e-9);
    }

    #[test]
    fn a_reader_forgets_the_page_before() {
        let mut reader = reader();
        reader.feed(PAGE.as_bytes());
        reader.begin();
        reader.feed(b"vllm:num_requests_waiting 1\nvllm:num_req");
        assert_eq!(
            reader.finish().unwrap(),
            Readings {
                waiting: Some(1.0),
                ..Readings::default()
            }
        );
        assert_eq!(reader.finish(), Err(NotExposition));
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut reader = reader();
        reader.feed(b"# x\nvllm:num_requests_running 2\nvllm:num_requests_waiting{a=\"");
        for _ in 0..100 {
            reader.feed(&[b'a'; 4096]);
        }
        assert!(reader.kept.capacity() <= 2 * MAX_KEPT_LINE);
        reader.feed(b"\"} 3\nvllm:kv_cache_usage_perc 0.5\n");
        let readings = reader.finish().unwrap();
        let got = (readings.running, readings.waiting, readings.kv_usage);
        assert_eq!(got, (Some(2.0), None, Some(0.5)));
        assert_eq!(readings.problems, 1);
    }

    #[track_caller]
    fn lora(page: &str, expected: &str) {
        let mut reader = reader();
        reader.feed(page.as_bytes());
        assert!(reader.finish().is_ok());
        let shown = reader.reported().lora.map_or_else(
            || "none".to_owned(),
            |lora| format!("{:?} {:?} {}", lora.running, lora.waiting, lora.most),
        );
        assert_eq!(shown, expected, "{page}");
        assert_eq!(reader.reported(), Reported::default(), "taken out once");
    }

    #[test]
    fn the_latest_list_of_adapters_counts() {
        const NAME: &str = "vllm:lora_requests_info";
        lora("vllm:num_requests_waiting 1\n", "none");
        lora(
            &format!(
                "{NAME}{{max_lora=\"4\",running_lora_adapters=\"sql, law\",waiting_lora_adapters=\"\"}} 1.7e9\n"
            ),
            r#"["sql", "law"] [] 4"#,
        );
        let line = |running: &str, time: &str| {
            format!(
                "{NAME}{{max_lora=\"2\",running_lora_adapters=\"{running}\",waiting_lora_adapters=\"w\"}} {time}\n"
            )
        };
        lora(
            &(line("a", "5") + &line("b", "7") + &line("c", "7")),
            r#"["b"] ["w"] 2"#,
        );
        lora(&(line("a", "NaN") + &line("b", "7")), r#"["b"] ["w"] 2"#);
        lora(&format!("{NAME}{{max_lora=\"many\"}} 1\n"), "[] [] 0");
    }

    #[test]
    fn values_get_the_names_of_the_configuration() {
        let spec = |text| metric_spec::read(text).unwrap().unwrap();
        let engine = EngineSpec {
            attributes: vec![
                ("gpu".to_owned(), spec("DCGM{gpu=0}")),
                ("gone".to_owned(), spec("gone")),
                ("odd".to_owned(), spec("odd")),
            ],
            ..EngineSpec::default()
        };
        let mut reader = Reader::new(Lexicon::of(&engine).into());
        reader.feed(b"DCGM{gpu=\"1\"} 9\nDCGM{gpu=\"0\"} -0.5 3\nDCGM{gpu=\"0\"} 2 1\nodd NaN\n");
        assert!(reader.finish().is_ok());
        assert_eq!(reader.reported().attributes, [("gpu".into(), -0.5)]);
    }

    #[test]
    fn a_described_engine_is_read_by_its_own_words() {
        let spec = |text| metric_spec::read(text).unwrap();
        let engine = EngineSpec {
            waiting: spec("q{kind=waiting,tier=\"a b\"}"),
            running: spec("q{kind=running}"),
            block_size: spec("page"),
            ..EngineSpec::default()
        };
        let mut reader = Reader::new(Lexicon::of(&engine).into());
        reader.feed(
            b"q{kind=\"waiting\",tier=\"a\"} 9\nq{tier=\"a b\",kind=\"waiting\"} 4.9\nq{kind=\"running\"} 2\n\
              page 32\nvllm:num_requests_waiting 77\n",
        );
        let readings = reader.finish().unwrap();
        assert_eq!((readings.waiting, readings.running), (Some(4.0), Some(2.0)));
        assert_eq!((readings.block_size, readings.kv_usage), (Some(32), None));
    }
}
